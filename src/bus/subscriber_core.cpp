#include "quoit/detail/subscriber_core.hpp"

#include <algorithm>
#include <utility>

#include "base/file_lock.hpp"
#include "base/random.hpp"
#include "bus/attempts.hpp"
#include "bus/lane_links.hpp"
#include "bus/subscriber_parts.hpp"
#include "quoit/detail/bus_waits.hpp"
#include "quoit/detail/no_memory.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

result<subscriber_core*> subscriber_core::open(const std::shared_ptr<node>& owner, std::string_view name,
                                               const message_type& type, const subscriber_options& options) {
  return or_no_memory([&] {
    const lock_wait_limit limit(owner->settings().lock_timeout);
    return open_with(owner, name, type, options, owner->settings().lock_timeout);
  });
}

result<subscriber_core*> subscriber_core::open_with(const std::shared_ptr<node>& owner, std::string_view name,
                                                    const message_type& type, const subscriber_options& options,
                                                    std::chrono::nanoseconds lock_timeout) {
  if (owner->forked()) return tl::unexpected(error(errc::forked));
  const lock_wait_limit limit(lock_timeout);
  std::unique_ptr<kept_subscription> kept;
  for (int attempt = 0; attempt < open_attempts_max; ++attempt) {
    if (!kept) {
      if (auto ok = may_make(owner, name, type, options, lock_timeout); !ok)
        return tl::unexpected(std::move(ok.error()));
      auto read = kept_subscription::find(*owner, name, type, options);
      if (!read) return tl::unexpected(std::move(read.error()));
      kept = std::move(*read);
    }
    auto opened = kept ? open_kept(owner, name, type, options, lock_timeout, kept)
                       : open_elsewhere(owner, name, type, options, lock_timeout);
    if (!opened || *opened != nullptr) return opened;
    if (!kept) continue;  // it was moved meanwhile
    if (auto ok = kept->measure_ends(); !ok) return tl::unexpected(std::move(ok.error()));
  }
  return tl::unexpected(topic_is_moved_on(name));
}

// Where this subscriber would make something on the disk, the topic is asked first.
result<void> subscriber_core::may_make(const std::shared_ptr<node>& owner, std::string_view name,
                                       const message_type& type, const subscriber_options& options,
                                       std::chrono::nanoseconds lock_timeout) {
  if (!makes_directory(options) || owner->on_kernel()) return {};
  if (auto ok = check_options(options, true); !ok) return ok;
  auto bare = checked_topic_name(name);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  const auto place = place_asked_for(options.directory, *bare);
  if (!place) return tl::unexpected(place.error());
  if (place->is_there() && options.subscription_name.empty()) return {};
  return ask_topic(owner, name, type, options, lock_timeout, *place);
}

result<subscriber_core*> subscriber_core::open_elsewhere(const std::shared_ptr<node>& owner, std::string_view name,
                                                         const message_type& type, const subscriber_options& options,
                                                         std::chrono::nanoseconds lock_timeout) {
  if (owner->on_kernel()) return open_kernel(owner, name, type, options, lock_timeout);
  if (options.mode == mode::observer) return open_observer(owner, name, type, options);
  return open_in_memory(owner, name, type, options, lock_timeout);
}

result<subscriber_core*> subscriber_core::open_in_memory(const std::shared_ptr<node>& owner, std::string_view name,
                                                         const message_type& type, const subscriber_options& options,
                                                         std::chrono::nanoseconds lock_timeout) {
  auto opened =
      topic::open(owner, name, {type.name, type.bytes, type.alignment, type.fields}, options.limits, lock_timeout);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  if (!opened->storage.place.in_memory()) return nullptr;
  auto parts = std::make_unique<subscriber_parts>();
  parts->owner = owner;
  parts->control = std::move(opened->control);
  parts->options = options;
  parts->payload_bytes = type.bytes;
  parts->type = kept_type_of(type);
  topic& control = parts->control;
  control.clean_dead(*owner);

  if (auto entered = enter_table(*parts, opened->storage.generation); !entered) {
    return tl::unexpected(std::move(entered.error()));
  }
  for (u32 i = 0; i < control.publishers(); ++i) {
    // A lane that is closed already belongs to those who were there while it was open.
    if (control.state(control.publisher(i)) != participant_state::active) continue;
    auto link = join_lane(*parts, i);
    // Whoever comes next closes it.
    if (!link && died_with_its_lane(*parts, i, link.error())) continue;
    if (!link) {
      parts->links.clear();
      control.remove_subscription(*owner, parts->index);
      control.remove_if_unused();
      return tl::unexpected(std::move(link.error()));
    }
    parts->links.push_back(std::move(*link));
  }
  auto* const core = new subscriber_core(std::move(parts));
  // sync(topic.roster): under the lock: it cannot change between the table and here
  core->roster_seen_ = load_acquire(*core->roster_);
  core->set_only();
  return core;
}

// A free one, with the topic's lock held. Errors: limit_reached.
result<u32> subscriber_core::find_entry(const topic& control) {
  u32 index = 0;
  while (index < control.subscriptions() && control.state(control.subscription(index)) != participant_state::free) {
    ++index;
  }
  if (index < control.subscriptions()) return index;
  return tl::unexpected(topic_is_full(control.name(), index, "subscriptions", "subscriptions_max", index));
}

// With the topic's lock held; `storage`: the record that counts. Errors: limit_reached.
result<void> subscriber_core::enter_table(subscriber_parts& parts, u64 storage) {
  const topic& control = parts.control;
  node& owner = *parts.owner;
  const subscriber_options& options = parts.options;
  const auto free = find_entry(control);
  if (!free) return tl::unexpected(free.error());
  const u32 index = *free;
  parts.index = index;
  parts.ready_bit = owner.take_ready_bit();
  subscription_entry& entry = control.subscription(index);
  const auto id = random_id();
  // relaxed: ordered by the release of the state
  store_relaxed(entry.node, owner.id().index);
  store_relaxed(entry.node_generation, owner.id().generation);  // relaxed: as above
  store_relaxed(entry.ready_bit, parts.ready_bit);              // relaxed: as above
  store_relaxed(entry.mode, static_cast<u32>(options.mode));    // relaxed: as above
  store_relaxed(entry.samples_max, options.samples_max);        // relaxed: as above
  store_relaxed(entry.id[0], id[0]);                            // relaxed: as above
  store_relaxed(entry.id[1], id[1]);                            // relaxed: as above
  store_relaxed(entry.pipe, 0);                                 // relaxed: as above
  const bool keeps_place = !options.directory.empty() || !options.subscription_name.empty();
  store_relaxed(entry.keeps_place, u32{keeps_place});  // relaxed: as above
  store_relaxed(entry.storage_seen, storage);          // relaxed: as above
  parts.storage_seen = storage;
  // sync(topic.entry): whole, for whoever finds it active
  store_release(entry.state, static_cast<u64>(participant_state::active));
  return {};
}

// Nothing is entered anywhere, and everything is mapped for reading only.
result<subscriber_core*> subscriber_core::open_observer(const std::shared_ptr<node>& owner, std::string_view name,
                                                        const message_type& type, const subscriber_options& options) {
  auto control = topic::observe(*owner, name, {type.name, type.bytes, type.alignment, type.fields});
  if (!control) return tl::unexpected(std::move(control.error()));
  const auto storage = control->storage();
  if (!storage) return tl::unexpected(storage.error());
  if (!storage->place.in_memory()) return nullptr;
  auto parts = std::make_unique<subscriber_parts>();
  parts->owner = owner;
  parts->control = std::move(*control);
  parts->options = options;
  parts->payload_bytes = type.bytes;
  parts->type = kept_type_of(type);
  parts->storage_seen = storage->generation;
  // sync(topic.roster): loaded before the table: what comes meanwhile is found at the first look
  const u64 roster = load_acquire(parts->control.header().roster);
  // sync(topic.entry): lanes that are made from now on have this generation or a later one
  parts->generation_at_open = load_acquire(parts->control.header().next_lane_generation);
  for (u32 i = 0; i < parts->control.publishers(); ++i) {
    if (parts->control.state(parts->control.publisher(i)) != participant_state::active) continue;
    const u64 generation = load_relaxed(parts->control.publisher(i).lane_generation);  // relaxed: ordered by state()
    auto link = join_lane(*parts, i);
    if (link) {
      parts->links.push_back(std::move(*link));
    } else if (link.error() == errc::corrupt || link.error() == errc::newer_version) {
      parts->refused.push_back({i, generation});
      parts->unsaid.push_back(std::move(link.error()));
    } else if (link.error() != errc::not_found && !died_with_its_lane(*parts, i, link.error())) {
      return tl::unexpected(std::move(link.error()));
    }
  }
  auto* const core = new subscriber_core(std::move(parts));
  core->roster_seen_ = roster;
  core->set_only();
  return core;
}

subscriber_core::subscriber_core(std::unique_ptr<subscriber_parts> parts) noexcept
    : parts_(std::move(parts)),
      roster_(parts_->sockets || !parts_->control ? &parts_->never_seen : &parts_->control.header().roster),
      epoch_(fork_epoch) {}

subscriber_core::~subscriber_core() = default;

void subscriber_core::close() noexcept {
  open_ = false;
  if (waiting_ != nullptr) {
    if (epoch_ == fork_epoch) {
      waiting_->answer(errc::closed);
    } else {
      waiting_->core_goes_in_child();
    }
  }
  drop_descriptor();
  if (samples_ == 0) finish();
}

void subscriber_core::finish() noexcept {
  if (epoch_ != fork_epoch && parts_->owner && parts_->owner->left_behind()) {
    static_cast<void>(parts_.release());
    delete this;
    return;
  }
  try {
    if (parts_->sockets) finish_kernel();
    if (epoch_ == fork_epoch) {
      for (auto& link : parts_->links) link->reader.stop();
    }
    const bool in_table = !parts_->observes() && !parts_->sockets && parts_->control;
    if (epoch_ == fork_epoch && in_table) {
      const lock_wait_limit limit(parts_->owner->settings().lock_timeout);
      // A lock that cannot be had leaves an entry whose node is gone soon: whoever comes next cleans it up.
      if (auto lock = parts_->control.lock()) {
        parts_->control.remove_subscription(*parts_->owner, parts_->index);
        parts_->control.remove_if_unused();
      }
    }
  } catch (const std::bad_alloc&) {
    // What is left of it in the topic goes with its node.
  }
  delete this;
}

// ---- polling -------------------------------------------------------------------------------------------

subscriber_core::polled subscriber_core::poll_slow(held_message& out, bool asked_by_loop) noexcept {
  if (epoch_ != fork_epoch || !open_) return polled::failed;
  const polled status = look_once(out);
  if (status != polled::nothing || !parts_->foreign || asked_by_loop) return status;
  return look_for_foreign_loop(out);
}

subscriber_core::polled subscriber_core::look_once(held_message& out) noexcept {
  if (!parts_->sockets) {
    look_at_roster();
    polled status = polled::nothing;
    // Of a topic on disk there is nothing of this, unless it was elsewhere before.
    if (!parts_->kept || !parts_->links.empty() || !parts_->unsaid.empty()) status = take_from_links(out);
    if (status == polled::nothing && !parts_->left.empty()) status = take_left(out);
    if (status == polled::nothing && parts_->kept) status = take_kept(*parts_->kept, out);
    return status;
  }
  // What was received already costs no system call.
  polled status = take_from_links(out);
  if (status == polled::nothing) {
    look_at_sockets();
    status = take_from_links(out);
  }
  return status;
}

subscriber_core::polled subscriber_core::take_from_links(held_message& out) noexcept {
  if (!parts_->unsaid.empty()) {
    parts_->failure = std::move(parts_->unsaid.back());
    parts_->unsaid.pop_back();
    return polled::failed;
  }
  auto& links = parts_->links;
  bool drained = false;
  for (std::size_t i = 0; i < links.size(); ++i) {
    const std::size_t at = (parts_->next + i) % links.size();
    lane_link& link = *links[at];
    if (link.broken) {
      // Its samples were still held when it was found to be so.
      if (link.reader.held() == 0) link.reader.stop();
      continue;
    }
    if (link.drained) {
      // With a sample held in it, it cannot be left yet.
      drained = drained || link.reader.held() == 0;
      continue;
    }
    if (link.connection) {
      if (const u64 lost = link.connection->take_lost(); lost != 0) {
        parts_->next = at + 1;
        return failed(take_status::lagged, link);
      }
    }
    const take_status status = parts_->observes() ? link.reader.take_copy(out.frame) : link.reader.take(out.frame);
    if (status == take_status::nothing) continue;
    if (status == take_status::drained) {
      link.drained = drained = true;
      continue;
    }
    // The next look begins behind this lane: none starves another, and none hides another's error.
    parts_->next = at + 1;
    if (status != take_status::message) return failed(status, link);
    out.reader = &link.reader;
    out.link = &link;
    ++samples_;
    return polled::message;
  }
  if (drained) drop_drained();
  return polled::nothing;
}

subscriber_core::polled subscriber_core::failed(take_status status, lane_link& link) noexcept {
  error& why = parts_->failure;
  switch (status) {
    case take_status::lagged: why = error(errc::lagged, link.reader.lost()); break;
    case take_status::too_many: why = error(errc::too_many_samples, parts_->options.samples_max); break;
    case take_status::newer_version:
    case take_status::corrupt: why = leave_broken(link, status); break;
    case take_status::drained: only_ = nullptr; return polled::nothing;
    default: return polled::nothing;
  }
  return polled::failed;
}

// Where one frame makes no sense, the place of the next is not known: the lane is left, and its publisher does not wait
// for us any more.
error subscriber_core::leave_broken(lane_link& link, take_status status) noexcept {
  link.broken = true;
  if (link.reader.held() == 0) link.reader.stop();
  set_only();
  const std::string file = lane_data_file(parts_->control.file_name(), link.generation);
  const std::string at = "position " + std::to_string(link.reader.position());
  if (status == take_status::corrupt)
    return corrupt_lane(parts_->control.store(), file, "at " + at + " is what no publisher writes");
  return error(errc::newer_version, shm_path(file) + " has at " + at +
                                        " a message with flags that this library, of layout " +
                                        std::to_string(layout_major) + "." + std::to_string(layout_minor) +
                                        ", does not know: use one version of quoit on a bus");
}

error subscriber_core::why_failed() noexcept {
  if (epoch_ != fork_epoch) return error(errc::forked);
  if (!open_) return error(errc::closed);
  return std::exchange(parts_->failure, error(errc::corrupt));
}

// ---- lanes that come and go ----------------------------------------------------------------------------

void subscriber_core::set_only() noexcept {
  only_ = nullptr;
  only_link_ = nullptr;
  // Who has a descriptor sees to it whenever there is nothing.
  if (parts_->foreign || parts_->kept || !parts_->left.empty() || parts_->observes() || parts_->links.size() != 1 ||
      parts_->links.front()->drained || parts_->links.front()->broken || parts_->lane_missing) {
    return;
  }
  only_link_ = parts_->links.front().get();
  only_ = &only_link_->reader;
}

// A look begins with the table: what is new is attached, what was closed is noticed (B4).
void subscriber_core::look_at_roster() noexcept {
  // sync(topic.roster): the entries, and where the topic is kept, are as new as this number
  const u64 seen = load_acquire(*roster_);
  if ((seen == roster_seen_ && !parts_->lane_missing) || !parts_->control) return;
  parts_->lane_missing = false;
  topic& control = parts_->control;
  look_at_storage();
  if (seen != roster_seen_) look_at_kept_lanes();
  const auto in_table = [&](const lane_link& link) {
    const publisher_entry& entry = control.publisher(link.index);
    return control.state(entry) != participant_state::free &&
           load_relaxed(entry.lane_generation) == link.generation;  // relaxed: ordered by state()
  };
  bool doubtful = false;
  for (auto& link : parts_->links) {
    // Closed, or open again for an adopter.
    link->reader.look_at_state();
    link->drained = false;
  }
  if (parts_->observes()) forget_removed_lanes();
  std::erase_if(parts_->links, [&](const auto& link) {
    if (!link->broken || in_table(*link) || link->reader.held() + link->reader.copies_held() > 0) return false;
    parts_->lost_before += link->reader.lost_total();
    link->reader.stop();
    return true;
  });
  for (u32 i = 0; i < control.publishers(); ++i) {
    if (control.state(control.publisher(i)) == participant_state::free) continue;
    if (topic::is_on_disk(control.publisher(i))) continue;
    const bool known = std::any_of(parts_->links.begin(), parts_->links.end(),
                                   [&](const auto& link) { return link->index == i && in_table(*link); });
    if (known) continue;
    const u64 generation = load_relaxed(control.publisher(i).lane_generation);  // relaxed: ordered by state()
    const subscriber_parts::refused_lane asked{i, generation};
    if (std::find(parts_->refused.begin(), parts_->refused.end(), asked) != parts_->refused.end()) continue;
    auto link = follow_lane(*parts_, i);
    if (!link && is_gone(link.error())) {
      // The other lanes go on, and so does its publisher, if it lives.
      std::erase_if(parts_->refused, [&](const auto& before) { return before.index == i; });
      parts_->refused.push_back(asked);
      parts_->unsaid.push_back(std::move(link.error()));
      if (!parts_->observes()) control.leave_lane(*parts_->owner, i, parts_->index);
    } else if (!link) {
      // The other lanes go on. The publisher of this one will wait for us: so we say so, once, and try again.
      parts_->lane_missing = true;
      if (is_out_of_reach(link.error())) {
        // Unless it is just dying: then it is not missed.
        if (!parts_->dying) parts_->dying.emplace(dying_takes);
        doubtful = true;
        if (!parts_->dying->over() || parts_->owner->dying(topic::owner_of(control.publisher(i)))) continue;
      }
      if (seen != roster_seen_) parts_->unsaid.push_back(std::move(link.error()));
    } else if (*link) {
      parts_->links.push_back(std::move(*link));
    }
  }
  if (!doubtful) parts_->dying.reset();
  // Looked at as a whole again, until it is known.
  if (!parts_->dying || parts_->dying->over()) roster_seen_ = seen;
  set_only();
}

// An observer's leaving: nobody waits for it.
void subscriber_core::forget_removed_lanes() noexcept {
  std::erase_if(parts_->links, [&](const std::unique_ptr<lane_link>& link) {
    const publisher_entry& entry = parts_->control.publisher(link->index);
    const bool there = parts_->control.state(entry) != participant_state::free &&
                       load_relaxed(entry.lane_generation) == link->generation;  // relaxed: ordered by state()
    // The mapping outlives the name: what is left in it can still be read, and samples are copies in it.
    if (there || link->reader.copies_held() > 0 || !link->reader.drained()) return false;
    parts_->lost_before += link->reader.lost_total();
    return true;
  });
}

// Leaves lanes that are closed and were read to their end; the last to leave one removes it. Under the lock:
// an adopter opens a lane again only while everybody is on it.
void subscriber_core::drop_drained() noexcept {
  if (parts_->sockets) return drop_ended();
  topic& control = parts_->control;
  // An observer keeps what it has drained until the table says that it is gone: somebody may go on with it.
  if (parts_->observes()) return;
  // Never waited for: its holder may be stopped, and this is a poll. At the next look, then.
  auto lock = control.lock(std::chrono::nanoseconds(0));
  if (!lock) return;
  auto& links = parts_->links;
  for (std::size_t i = 0; i < links.size();) {
    lane_link& link = *links[i];
    // Asked again: an adopter may have opened the lane since, and published.
    link.drained = link.drained && link.reader.drained();
    if (!link.drained || link.reader.held() > 0) {
      ++i;
      continue;
    }
    parts_->lost_before += link.reader.lost_total();
    link.reader.stop();
    const publisher_entry& entry = control.publisher(link.index);
    // relaxed: under the lock
    if (load_relaxed(entry.lane_generation) == link.generation) control.retire_lane_if_left(link.index);
    links.erase(links.begin() + static_cast<std::ptrdiff_t>(i));
  }
  set_only();
}

// ---- for people ----------------------------------------------------------------------------------------

u32 subscriber_core::publishers() noexcept {
  if (epoch_ != fork_epoch) return 0;
  if (parts_->sockets) return count_connected();
  return parts_->control ? parts_->control.count_active_publishers() : parts_->kept->reader->publishers();
}

u64 subscriber_core::lost() const noexcept {
  u64 sum = parts_->lost_before;
  for (const auto& link : parts_->links) sum += link->reader.lost_total();
  for (const auto& kept : parts_->left) sum += kept->reader->lost_total();
  if (parts_->kept) sum += parts_->kept->reader->lost_total();
  return sum;
}

const u64* subscriber_core::publisher_of(const held_message& message) const noexcept {
  return message.reader != nullptr ? message.link->publisher_id : message.kept->id;
}

}  // namespace quoit::inline v1::detail
