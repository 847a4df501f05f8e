// Subscribers of topics on disk. The messages come from the directory; the topic's control segment says who publishes,
// and is where a subscriber is entered, armed and woken, as in memory (B1 to B6). Without a bus nobody wakes it.
#include <utility>

#include "base/file_lock.hpp"
#include "bus/subscriber_parts.hpp"
#include "quoit/detail/no_memory.hpp"
#include "storage/log_lane.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

error not_on_disk(const char* what) {
  return error(errc::invalid_argument, std::string(what) + " is for topics on disk (subscriber_options directory)");
}

}  // namespace

// ---- opening -------------------------------------------------------------------------------------------

result<void> check_options(const subscriber_options& options, bool kept) {
  const auto refused = [](const std::string& words) { return tl::unexpected(error(errc::invalid_argument, words)); };
  if (options.samples_max == 0 || options.samples_max > 65536) {
    return refused("samples_max is " + std::to_string(options.samples_max) + ": it must be 1 to 65536");
  }
  if (options.mode > mode::observer || options.start.kind > start::from::cursor) {
    return refused("mode or start is none of its values");
  }
  if (options.start.kind == start::from::cursor && options.start.where == nullptr)
    return refused("start::at() nowhere");
  if (!kept && options.start.kind > start::from::last) {
    return tl::unexpected(not_on_disk("a start at a sequence, a time or a cursor"));
  }
  if (!kept && !options.subscription_name.empty()) return tl::unexpected(not_on_disk("a named subscription"));
  if (kept && options.mode == mode::observer && !options.subscription_name.empty()) {
    return refused(
        "an observer changes nothing, so nothing can be remembered of it: a named subscription has another mode");
  }
  return {};
}

result<std::string> directory_of(const node& owner, std::string_view topic, std::string_view asked) {
  if (owner.on_kernel()) {
    if (asked.empty()) return std::string();
    return tl::unexpected(error(errc::invalid_argument,
                                "a topic on disk is found through shared memory: it has no kernel path; open the bus "
                                "with transport::shared_memory"));
  }
  if (!asked.empty()) return std::string(asked);
  auto bare = checked_topic_name(topic);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  const auto control = topic::look(owner.store(), topic_file(owner.bus(), *bare));
  auto storage = control ? control->storage() : storage_record();
  // What is wrong with it, opening it will say.
  return storage ? std::move(storage->place.directory) : std::string();
}

result<void> subscriber_core::ask_topic(const std::shared_ptr<node>& owner, std::string_view name,
                                        const message_type& type, const subscriber_options& options,
                                        std::chrono::nanoseconds lock_timeout, const topic_place& place) {
  auto opened = topic::open(owner, name, {type.name, type.bytes, type.alignment, type.fields}, options.limits,
                            lock_timeout, place);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  topic& control = opened->control;
  control.clean_dead(*owner);
  auto entry = find_entry(control);
  control.remove_if_unused();
  if (!entry) return tl::unexpected(std::move(entry.error()));
  return {};
}

result<std::unique_ptr<kept_subscription>> kept_subscription::find(const node& owner, std::string_view topic,
                                                                   const message_type& type,
                                                                   const subscriber_options& options) {
  auto directory = directory_of(owner, topic, options.directory);
  if (!directory) return tl::unexpected(std::move(directory.error()));
  if (auto ok = check_options(options, !directory->empty()); !ok) return tl::unexpected(std::move(ok.error()));
  if (directory->empty()) return nullptr;
  auto bare = checked_topic_name(topic);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  return open(*directory, *bare, kept_type_of(type), options, makes_directory(options));
}

kept_type kept_type_of(const message_type& type) {
  return {std::string(type.name), type.bytes, type.alignment, std::string(type.fields)};
}

result<std::unique_ptr<kept_subscription>> kept_subscription::open(const std::string& directory,
                                                                   const std::string& topic,
                                                                   std::optional<kept_type> type,
                                                                   const subscriber_options& options, bool makes) {
  auto kept = std::make_unique<kept_subscription>();
  auto there = makes ? make_topic_directory(directory, topic, &kept->made) : find_topic_directory(directory, topic);
  if (!there) return tl::unexpected(std::move(there.error()));
  kept->place = topic_place{there->root, there->topic.device, there->topic.inode};
  if (!options.subscription_name.empty()) {
    auto remembered =
        subscription_file::open(there->as_named, topic, std::string(options.subscription_name), &kept->made);
    if (!remembered) return tl::unexpected(std::move(remembered.error()));
    kept->remembered = std::move(*remembered);
  }
  const bool goes_on = kept->remembered && kept->remembered->found();
  const start from = goes_on ? start::at(*kept->remembered->found()) : options.start;
  auto reader = kept_reader::open(there->as_named, topic, std::move(type), options.samples_max, from,
                                  kept->remembered != nullptr);
  if (!reader) return tl::unexpected(std::move(reader.error()));
  kept->reader = std::move(*reader);
  if (kept->remembered) {
    if (auto begun = kept->remembered->begin(*kept->reader); !begun) return tl::unexpected(std::move(begun.error()));
  }
  return kept;
}

result<subscriber_core*> subscriber_core::open_kept(const std::shared_ptr<node>& owner, std::string_view name,
                                                    const message_type& type, const subscriber_options& options,
                                                    std::chrono::nanoseconds lock_timeout,
                                                    std::unique_ptr<kept_subscription>& kept) {
  const lock_wait_limit limit(lock_timeout);
  auto parts = std::make_unique<subscriber_parts>();
  parts->owner = owner;
  parts->options = options;
  parts->payload_bytes = type.bytes;
  parts->type = kept_type_of(type);
  if (options.mode == mode::observer) {
    parts->kept = std::move(kept);
    return new subscriber_core(std::move(parts));
  }
  std::optional<topic_place> wanted;
  if (!options.directory.empty()) wanted = kept->place;
  auto opened = topic::open(owner, name, {type.name, type.bytes, type.alignment, type.fields}, options.limits,
                            lock_timeout, wanted);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  topic& control = parts->control = std::move(opened->control);
  if (!wanted && !(opened->storage.place == kept->place)) {
    kept.reset();
    control.remove_if_unused();
    return nullptr;
  }
  if (opened->moves && !kept->ends.are_known(control)) return nullptr;
  if (opened->moves) {
    // One that another process had made, and was refused with, may be gone.
    const auto now = place_asked_for(options.directory, kept->reader->topic());
    if (!now || !(*now == kept->place)) {
      kept.reset();
      control.remove_if_unused();
      return nullptr;
    }
  }
  control.clean_dead(*owner);
  if (auto entered = enter_table(*parts, opened->storage.generation); !entered) {
    control.remove_if_unused();
    return tl::unexpected(std::move(entered.error()));
  }
  if (opened->moves) {
    if (auto moved = control.move_to(*owner, kept->place, kept->ends.text()); !moved) {
      control.remove_subscription(*owner, parts->index);
      control.remove_if_unused();
      return tl::unexpected(std::move(moved.error()));
    }
    parts->storage_seen = load_relaxed(control.header().storage);  // relaxed: under the topic's lock
    // sync(topic.storage_seen): it is there already
    store_release(control.subscription(parts->index).storage_seen, parts->storage_seen);
  }
  kept->made.keep();
  parts->read_before.push_back(kept->place);
  parts->kept = std::move(kept);
  parts->kept->is_told = true;
  auto* const core = new subscriber_core(std::move(parts));
  // So the first look begins with the table, and finds the lanes that came since the directory was read.
  core->roster_seen_ = core->parts_->never_seen;
  return core;
}

result<subscriber_core*> subscriber_core::open_replay(const std::string& directory, std::string_view name,
                                                      const message_type* type, const subscriber_options& options) {
  return or_no_memory([&]() -> result<subscriber_core*> {
    if (auto ok = check_options(options, true); !ok) return tl::unexpected(std::move(ok.error()));
    auto bare = checked_topic_name(name);
    if (!bare) return tl::unexpected(std::move(bare.error()));
    auto kept = kept_subscription::open(
        directory, *bare, type != nullptr ? std::optional(kept_type_of(*type)) : std::nullopt, options, false);
    if (!kept) return tl::unexpected(std::move(kept.error()));
    auto parts = std::make_unique<subscriber_parts>();
    parts->options = options;
    parts->kept = std::move(*kept);
    return new subscriber_core(std::move(parts));
  });
}

// ---- polling -------------------------------------------------------------------------------------------

// There is nothing: what nobody tells us of may be there. True: it is worth taking again.
bool subscriber_core::look_around(kept_subscription& kept) noexcept {
  if ((kept.is_told && !kept.reader->lane_missing()) || !kept.time_to_look()) return false;
  kept.reader->look_for_lanes();
  kept.reader->look_at_writers();
  return kept.reader->ready();
}

subscriber_core::polled subscriber_core::take_kept(kept_subscription& kept, held_message& out) noexcept {
  kept_reader& reader = *kept.reader;
  if (!reader.unsaid().empty()) [[unlikely]] {
    parts_->failure = std::move(reader.unsaid().back());
    reader.unsaid().pop_back();
    return polled::failed;
  }
  kept_lane* lane = nullptr;
  take_status status = reader.take(out.frame, lane);
  if (status == take_status::nothing && look_around(kept)) status = reader.take(out.frame, lane);
  error& why = parts_->failure;
  switch (status) {
    case take_status::message:
      out.reader = nullptr;
      out.kept = lane;
      ++samples_;
      return polled::message;
    case take_status::lagged: why = error(errc::lagged, lane->reader->lost()); break;
    case take_status::too_many: why = error(errc::too_many_samples, parts_->options.samples_max); break;
    case take_status::corrupt: why = error(errc::corrupt, lane->reader->fault()); break;
    case take_status::newer_version:
      why = error(errc::newer_version, "lane " + lane->name + " of " + reader.topic() + " in " + reader.root() +
                                           " has at sequence " + std::to_string(lane->reader->sequence()) +
                                           " what this library, of layout " + std::to_string(layout_major) + "." +
                                           std::to_string(layout_minor) + ", does not know");
      break;
    default: return polled::nothing;
  }
  return polled::failed;
}

bool subscriber_core::ready_kept(kept_subscription& kept) noexcept { return kept.reader->ready() || look_around(kept); }

bool subscriber_core::take_more_kept(const held_message& first, lane_frame& out) noexcept {
  // A forked child has not got the files.
  return epoch_ == fork_epoch && first.kept->topic->take_more(*first.kept, first.frame, out);
}

void subscriber_core::release_kept(const held_message& message) noexcept {
  message.kept->topic->release(*message.kept, message.frame);
}

void subscriber_core::recheck_kept() noexcept {
  node& self = *parts_->owner;
  const topic& control = parts_->control;
  for (u32 i = 0; i < control.publishers(); ++i) {
    const publisher_entry& entry = control.publisher(i);
    if (control.state(entry) != participant_state::active) continue;
    const node_id whom = topic::owner_of(entry);
    // A lock that somebody holds is not waited for: he who waits here waits for a message.
    if (!self.alive_lately(whom)) self.clean_if_dead(whom, std::chrono::nanoseconds(0));
  }
  for (const auto& kept : parts_->left) kept->reader->look_at_writers();
  parts_->kept->reader->look_at_writers();
}

// ---- places --------------------------------------------------------------------------------------------

result<void> subscriber_core::seek(const start& from) {
  if (epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
  if (!open_) return tl::unexpected(error(errc::closed));
  if (!parts_->kept) return tl::unexpected(not_on_disk("seek()"));
  if (samples_ > 0) {
    return tl::unexpected(
        error(errc::busy, std::to_string(samples_) + " samples are held: release them before seek()", samples_));
  }
  subscriber_options options = parts_->options;
  options.start = from;
  if (auto ok = check_options(options, true); !ok) return ok;
  // What is not read yet of where the topic was before is passed over, wherever this goes.
  parts_->left.clear();
  auto there = parts_->kept->reader->seek(from);
  // Nobody publishes for whoever waits for this subscriber, on another loop's descriptor or in a coroutine, to look.
  if (parts_->foreign) parts_->foreign->ring();
  if (parts_->kept->is_told) {
    parts_->owner->mark_own(parts_->ready_bit);
    if (parts_->owner->attachment) parts_->owner->attachment->slept_beside();
  }
  return there;
}

result<cursor> subscriber_core::position() const {
  if (epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
  if (!parts_->kept) return tl::unexpected(not_on_disk("position()"));
  return parts_->kept->reader->position();
}

result<void> subscriber_core::commit() {
  if (epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
  if (!open_) return tl::unexpected(error(errc::closed));
  if (!parts_->kept) return tl::unexpected(not_on_disk("commit()"));
  if (!parts_->kept->remembered) {
    return tl::unexpected(error(errc::invalid_argument, "commit() is for named subscriptions (subscription_name)"));
  }
  return parts_->kept->remembered->commit(*parts_->kept->reader);
}

bool subscriber_core::kept_as(std::string& type_name, u32& type_bytes, u32& alignment, std::string& fields) const {
  if (!parts_->kept || !parts_->kept->reader->carried()) return false;
  const kept_type& type = *parts_->kept->reader->carried();
  type_name = type.name;
  type_bytes = type.bytes;
  alignment = type.alignment;
  fields = type.fields;
  return true;
}

std::string_view subscriber_core::publisher_name_of(const held_message& message) const noexcept {
  return message.reader == nullptr && message.kept != nullptr ? std::string_view(message.kept->name)
                                                              : std::string_view{};
}

}  // namespace quoit::inline v1::detail
