// A subscriber whose topic is moved while it is there: from memory to a directory, to another one, or back (rules S1 to
// S5, src/topic/topic_storage.hpp). It goes on reading where the topic was, until that is read to its end, and reads
// where it is now.
#include <algorithm>

#include "bus/subscriber_parts.hpp"
#include "storage/log_lane.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

bool has_read_from(const subscriber_parts& parts, const topic_place& place) {
  const auto& before = parts.read_before;
  return std::find(before.begin(), before.end(), place) != before.end();
}

}  // namespace

result<std::unique_ptr<kept_subscription>> kept_subscription::open_moved(const storage_record& record,
                                                                         const std::string& topic,
                                                                         const kept_type& type,
                                                                         const subscriber_options& options,
                                                                         bool read_before) {
  auto there = find_topic_directory(record.place.directory, topic);
  if (!there) return tl::unexpected(std::move(there.error()));
  auto kept = std::make_unique<kept_subscription>();
  kept->place = topic_place{there->root, there->topic.device, there->topic.inode};
  if (!(kept->place == record.place)) {
    return tl::unexpected(error(errc::policy_conflict, "topic " + topic + " is kept " + record.place.described() +
                                                           ", and there is another directory by now"));
  }
  // What was in the place before the topic was is as what was on a lane before its subscription.
  start from = options.start;
  cursor ends;
  if (record.ends) {
    auto parsed = cursor::parse(*record.ends);
    if (!parsed) return tl::unexpected(error(errc::corrupt, "the storage record of topic " + topic + ": its ends"));
    ends = std::move(*parsed);
    const bool from_before = !read_before && from.kind != start::from::latest && from.kind <= start::from::last;
    if (!from_before) from = start::at(ends);
    if (from.kind == start::from::last) from = {start::from::cursor, from.value, &ends};
  } else if (read_before || from.kind > start::from::last) {
    from = start::latest;  // an observer, for which nobody has measured
  }
  auto reader = kept_reader::open(there->as_named, topic, type, options.samples_max, from, false, true);
  if (!reader) return tl::unexpected(std::move(reader.error()));
  kept->reader = std::move(*reader);
  return kept;
}

void subscriber_core::look_at_storage() noexcept {
  // sync(topic.storage): the record that it names is whole
  const u64 counts = load_acquire(parts_->control.header().storage);
  if (counts == parts_->storage_seen) return;
  if (counts == parts_->storage_refused && !parts_->storage_retry.over()) {
    parts_->lane_missing = true;
    return;
  }
  follow_storage();
}

// Through the records that came since, the oldest first.
void subscriber_core::follow_storage() noexcept {
  topic& control = parts_->control;
  // sync(topic.storage): as above
  const u64 counts = load_acquire(control.header().storage);
  std::vector<storage_record> records;
  for (u64 at = counts; at > parts_->storage_seen;) {
    auto record = read_storage_record(control.store(), control.file_name(), at);
    // Nobody keeps old ones for an observer.
    if (!record && record.error() == errc::not_found && parts_->observes() && !records.empty()) break;
    if (!record) return refuse_storage(counts, std::move(record.error()));
    at = record->previous;
    records.push_back(std::move(*record));
  }
  for (std::size_t i = records.size(); i-- > 0;) {
    if (auto ok = follow_record(records[i]); !ok) return refuse_storage(counts, std::move(ok.error()));
    parts_->storage_seen = records[i].generation;
    if (parts_->observes()) continue;
    // sync(topic.storage_seen): the record is not read any more
    store_release(control.subscription(parts_->index).storage_seen, records[i].generation);
  }
  parts_->storage_refused = 0;
  set_only();
}

result<void> subscriber_core::follow_record(const storage_record& record) {
  std::unique_ptr<kept_subscription>& now = parts_->kept;
  auto& left = parts_->left;
  std::unique_ptr<kept_subscription> next;
  if (!record.place.in_memory()) {
    if (now && now->place == record.place) return {};
    // It may not have come to its end there.
    const auto back =
        std::find_if(left.begin(), left.end(), [&](const auto& kept) { return kept->place == record.place; });
    if (back != left.end()) {
      next = std::move(*back);
      left.erase(back);
    } else {
      const std::string name = topic_of_file(parts_->owner->bus(), parts_->control.file_name());
      auto opened = kept_subscription::open_moved(record, name, parts_->type, parts_->options,
                                                  has_read_from(*parts_, record.place));
      if (!opened) return tl::unexpected(std::move(opened.error()));
      next = std::move(*opened);
      next->is_told = !parts_->observes();
      if (!has_read_from(*parts_, record.place)) parts_->read_before.push_back(record.place);
    }
  }
  if (now) left.push_back(std::move(now));
  now = std::move(next);
  return {};
}

// Said once, and tried again now and then: what is published meanwhile is kept there.
void subscriber_core::refuse_storage(u64 record, error why) {
  constexpr auto between = kept_subscription::between_looks;
  if (parts_->storage_refused != record) parts_->unsaid.push_back(std::move(why));
  parts_->storage_refused = record;
  parts_->storage_retry = deadline(between);
  parts_->lane_missing = true;
}

// No publisher of the topic is there any more; somebody else's may be, or one that is just dying.
subscriber_core::polled subscriber_core::take_left(held_message& out) noexcept {
  auto& left = parts_->left;
  for (std::size_t i = 0; i < left.size();) {
    kept_reader& reader = *left[i]->reader;
    const polled status = take_kept(*left[i], out);
    if (status != polled::nothing) return status;
    reader.look_at_writers();
    if (reader.held() > 0 || !left[i]->time_to_look() || reader.publishers() > 0 || reader.ready()) {
      ++i;
      continue;
    }
    parts_->lost_before += reader.lost_total();
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return polled::nothing;
}

// A look begins with the table (B4): whoever is new there has his lane already, and of those that are gone a loan may
// be open.
void subscriber_core::look_at_kept_lanes() noexcept {
  for (const auto& kept : parts_->left) kept->reader->look_at_writers();
  if (!parts_->kept || !parts_->kept->is_told) return;
  parts_->kept->reader->look_for_lanes();
  parts_->kept->reader->look_at_writers();
}

}  // namespace quoit::inline v1::detail
