// Subscribers of topics on disk. The messages come from the directory; the topic's control segment says who publishes,
// and is where a subscriber is entered, armed and woken, as in memory (B1 to B6). Without a bus nobody wakes it.
#include <utility>

#include "base/fork_guard.hpp"
#include "bus/subscriber_parts.hpp"
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
  auto control = topic::look(owner.store(), topic_file(owner.bus(), *bare));
  // What is wrong with it, opening it will say.
  return control ? control->place().directory : std::string();
}

kept_type kept_type_of(const message_type& type) {
  return {std::string(type.name), type.bytes, type.alignment, std::string(type.fields)};
}

result<std::unique_ptr<kept_subscription>> kept_subscription::open(const std::string& directory,
                                                                   const std::string& topic,
                                                                   std::optional<kept_type> type,
                                                                   const subscriber_options& options, bool makes) {
  auto there = makes ? make_topic_directory(directory, topic) : find_topic_directory(directory, topic);
  if (!there) return tl::unexpected(std::move(there.error()));
  auto kept = std::make_unique<kept_subscription>();
  kept->place = topic_place{there->root, there->topic.device, there->topic.inode, false};
  if (!options.subscription_name.empty()) {
    auto remembered = subscription_file::open(there->as_named, topic, std::string(options.subscription_name));
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
  auto parts = std::make_unique<subscriber_parts>();
  parts->owner = owner;
  parts->options = options;
  parts->payload_bytes = type.bytes;
  if (options.mode == mode::observer) {
    parts->kept = std::move(kept);
    return new subscriber_core(std::move(parts));
  }
  auto opened = topic::open(owner, name, {type.name, type.bytes, type.alignment, type.fields}, options.limits,
                            lock_timeout, kept->place);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  parts->control = std::move(opened->control);
  parts->control.clean_dead(*owner);
  if (auto entered = enter_table(*parts); !entered) {
    parts->control.remove_if_unused();
    return tl::unexpected(std::move(entered.error()));
  }
  parts->kept = std::move(kept);
  parts->kept->is_told = true;
  auto* const core = new subscriber_core(std::move(parts));
  // So the first look begins with the table, and finds the lanes that came since the directory was read.
  core->roster_seen_ = core->parts_->never_seen;
  return core;
}

result<subscriber_core*> subscriber_core::open_replay(const std::string& directory, std::string_view name,
                                                      const message_type* type, const subscriber_options& options) {
  if (auto ok = check_options(options, true); !ok) return tl::unexpected(std::move(ok.error()));
  auto bare = checked_topic_name(name);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  notice_forks();
  auto kept = kept_subscription::open(
      directory, *bare, type != nullptr ? std::optional(kept_type_of(*type)) : std::nullopt, options, false);
  if (!kept) return tl::unexpected(std::move(kept.error()));
  auto parts = std::make_unique<subscriber_parts>();
  parts->options = options;
  parts->kept = std::move(*kept);
  return new subscriber_core(std::move(parts));
}

// ---- polling -------------------------------------------------------------------------------------------

// A look begins with the table (B4): whoever is new there has his lane already, and of those that are gone a loan may
// be open.
void subscriber_core::look_at_kept_roster() noexcept {
  kept_subscription& kept = *parts_->kept;
  if (!kept.is_told) return;
  // sync(topic.roster): the entries are as new as this number
  const u64 seen = load_acquire(*roster_);
  if (seen == roster_seen_) return;
  roster_seen_ = seen;
  kept.reader->look_for_lanes();
  kept.reader->look_at_writers();
}

// There is nothing: what nobody tells us of may be there. True: it is worth taking again.
bool subscriber_core::look_around() noexcept {
  kept_subscription& kept = *parts_->kept;
  if ((kept.is_told && !kept.reader->lane_missing()) || !kept.time_to_look()) return false;
  kept.reader->look_for_lanes();
  kept.reader->look_at_writers();
  return kept.reader->ready();
}

subscriber_core::polled subscriber_core::take_kept(held_message& out) noexcept {
  look_at_kept_roster();
  kept_reader& reader = *parts_->kept->reader;
  if (!reader.unsaid().empty()) [[unlikely]] {
    parts_->failure = std::move(reader.unsaid().back());
    reader.unsaid().pop_back();
    return polled::failed;
  }
  kept_lane* lane = nullptr;
  take_status status = reader.take(out.frame, lane);
  if (status == take_status::nothing && look_around()) status = reader.take(out.frame, lane);
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

bool subscriber_core::ready_kept() noexcept {
  look_at_kept_roster();
  return parts_->kept->reader->ready() || look_around();
}

bool subscriber_core::take_more_kept(const held_message& first, lane_frame& out) noexcept {
  // A forked child has not got the files.
  return epoch_ == fork_epoch && parts_->kept->reader->take_more(*first.kept, first.frame, out);
}

void subscriber_core::release_kept(const held_message& message) noexcept {
  parts_->kept->reader->release(*message.kept, message.frame);
}

void subscriber_core::recheck_kept() noexcept {
  kept_subscription& kept = *parts_->kept;
  if (!kept.is_told) return;
  node& self = *parts_->owner;
  const topic& control = parts_->control;
  for (u32 i = 0; i < control.publishers(); ++i) {
    const publisher_entry& entry = control.publisher(i);
    if (control.state(entry) != participant_state::active) continue;
    const node_id whom = topic::owner_of(entry);
    // A lock that somebody holds is not waited for: he who waits here waits for a message.
    if (!self.alive_lately(whom)) self.clean_if_dead(whom, std::chrono::nanoseconds(0));
  }
  kept.reader->look_at_writers();
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
