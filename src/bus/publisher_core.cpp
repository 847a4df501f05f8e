#include "quoit/detail/publisher_core.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/clock.hpp"
#include "base/deadline.hpp"
#include "base/file_lock.hpp"
#include "bus/bus_loop.hpp"
#include "bus/publisher_parts.hpp"
#include "quoit/detail/no_memory.hpp"
#include "topic/names.hpp"
#include "wake/doze.hpp"

namespace quoit::inline v1::detail {

result<void> check_options(const publisher_options& options) {
  if (options.policy < policy::block || options.policy > policy::fail) {
    return tl::unexpected(error(errc::invalid_argument, "policy is none of block, overwrite, fail"));
  }
  if (options.loans_max == 0 || options.loans_max > 65536) {
    return tl::unexpected(
        error(errc::invalid_argument, "loans_max is " + std::to_string(options.loans_max) + ": it must be 1 to 65536"));
  }
  return {};
}

result<publisher_core*> publisher_core::open(const std::shared_ptr<node>& owner, std::string_view name,
                                             const message_type& type, const publisher_options& options) {
  return or_no_memory([&]() -> result<publisher_core*> {
    const lock_wait_limit limit(owner->settings().lock_timeout);
    if (!options.directory.empty()) return open_on_disk(owner, name, type, options);
    lane_preparation prepared(owner->store());
    const auto geometry = geometry_for(type, options, options.limits.subscriptions_max);
    if (geometry && !owner->forked() && lane_preparation::pays_for(*geometry)) {
      auto made = make_lane(owner->store(), bus_temporary_prefix(owner->bus()), name, *geometry);
      if (!made) return tl::unexpected(std::move(made.error()));
      prepared.keep(std::move(*made));
    }
    return open_with(owner, name, type, options, prepared, owner->settings().lock_timeout);
  });
}

result<publisher_core*> publisher_core::open_with(const std::shared_ptr<node>& owner, std::string_view name,
                                                  const message_type& type, const publisher_options& options,
                                                  lane_preparation& prepared, std::chrono::nanoseconds lock_timeout) {
  if (owner->forked()) return tl::unexpected(error(errc::forked));
  const lock_wait_limit limit(lock_timeout);
  if (auto ok = check_options(options); !ok) return tl::unexpected(std::move(ok.error()));
  if (owner->on_kernel()) return open_kernel(owner, name, type, options, lock_timeout);
  // Before anything is made: most mistakes are in here.
  if (auto geometry = geometry_for(type, options, options.limits.subscriptions_max); !geometry) {
    return tl::unexpected(std::move(geometry.error()));
  }
  auto opened = topic::open(owner, name, {type.name, type.bytes, type.alignment, type.fields}, options.limits,
                            lock_timeout, topic_place());
  if (!opened) return tl::unexpected(std::move(opened.error()));
  auto parts = std::make_unique<publisher_parts>();
  parts->owner = owner;
  parts->control = std::move(opened->control);
  parts->policy = options.policy;
  auto geometry = geometry_for(type, options, parts->control.subscriptions());
  if (geometry) {
    auto ok = opened->moves ? parts->control.move_to(*owner, topic_place(), {}) : result<void>();
    if (ok) ok = enter_lane(*parts, *geometry, options, prepared);
    if (!ok) geometry = tl::unexpected(std::move(ok.error()));
  }
  if (!geometry) {
    parts->control.remove_if_unused();
    return tl::unexpected(std::move(geometry.error()));
  }
  return new publisher_core(std::move(parts));
}

publisher_core::publisher_core(std::unique_ptr<publisher_parts> parts) noexcept
    : parts_(std::move(parts)),
      writer_(parts_->sockets  ? &parts_->sockets->writer()
              : parts_->writer ? &*parts_->writer
                               : nullptr),
      disk_(parts_->disk.get()),
      armed_(parts_->sockets ? &parts_->always_armed : parts_->control.header().armed),
      armed_words_(parts_->sockets ? 1 : (parts_->control.subscriptions() + 63) / 64),
      prepare_bytes_(disk_ ? ~u32{0} : writer_->prepare_bytes()),
      epoch_(fork_epoch),
      in_ring_(disk_ == nullptr),
      stamped_(!disk_ && (writer_->geometry().flags & frame_stamped) != 0) {}

publisher_core::~publisher_core() = default;

void publisher_core::close() noexcept {
  if (auto* const where = static_cast<bus_loop*>(owner().attachment.get()); where != nullptr && epoch_ == fork_epoch) {
    where->publisher_goes(*this);
  }
  open_ = in_ring_ = false;
  drop_descriptor();
  // On disk, loans that are open have their places until they go: what is written there late may not be found behind
  // the end of the lane.
  if (epoch_ == fork_epoch && writer_ && writer_->close()) wake_sleepers();
  if (loans_ == 0) finish();
}

void publisher_core::finish() noexcept {
  try {
    const lock_wait_limit limit(parts_->owner->settings().lock_timeout);
    if (epoch_ != fork_epoch && parts_->owner->left_behind()) {
      static_cast<void>(parts_.release());
    } else if (parts_->sockets) {
      finish_kernel(*parts_);
    } else if (epoch_ != fork_epoch) {
      disk_lane::forget(std::move(parts_->disk));
    } else {
      const bool in_memory = disk_ == nullptr;
      // The lane's lock goes first: whoever is told that the table changed finds that nobody writes there.
      parts_->disk.reset();
      // A lock that cannot be had leaves an entry whose node is gone soon: whoever comes next cleans it up.
      if (auto lock = parts_->control.lock()) {
        parts_->control.close_lane(*parts_->owner, parts_->index, participant_state::closed);
        parts_->control.remove_if_unused();
      }
      if (in_memory && parts_->owner->store().lanes_are_kept_by_publishers()) keep_lane(*parts_);
    }
  } catch (const std::bad_alloc&) {
    // What is left of it in the topic goes with its node.
  }
  delete this;
}

void publisher_core::abandon(const lane_claim& claim) noexcept {
  if (epoch_ != fork_epoch || !in_ring_) return commit_elsewhere(claim, abandoned);
  if (writer_->abandon(claim)) wake_sleepers();
  give_back();
}

u64 publisher_core::stamp() const noexcept { return realtime_ns(); }

void publisher_core::fire_armed() noexcept {
  if (parts_->sockets) {
    const u64 sent = parts_->sockets->flush();
    wakes_ += sent;
    return writer_->add_wakes(sent);
  }
  topic& control = parts_->control;
  u64 calls = 0;
  for (u32 word = 0; word < armed_words_; ++word) {
    const u32 in_word = std::min(control.subscriptions() - word * 64, 64u);
    calls += fire_word(armed_[word], ~u64{0} >> (64 - in_word), [&](u32 bit) {
      const subscription_entry& entry = control.subscription(word * 64 + bit);
      const node_id whom = topic::owner_of(entry);
      // relaxed: written before it armed, and we took its bit
      const bool rung = parts_->owner->mark_and_ring(whom, load_relaxed(entry.ready_bit));
      return parts_->owner->ring_endpoint(whom, load_relaxed(entry.pipe)) || rung;  // relaxed: as above
    });
  }
  if (calls == 0) return;
  wakes_ += calls;
  if (writer_) writer_->add_wakes(calls);
}

error publisher_core::why_refused() const noexcept {
  if (epoch_ != fork_epoch) return error(errc::forked);
  if (!open_) return error(errc::closed);
  if (disk_) return why_refused_on_disk();
  switch (refusal_) {
    case claim_status::too_large: {
      if (parts_->sockets && refused_bytes_ > parts_->sockets->packet_payload_max()) {
        return too_large_for_sockets(parts_->sockets->packet_payload_max());
      }
      const lane_geometry& g = writer_->geometry();
      lane_request request{};
      request.payload_bytes_max = refused_bytes_;
      request.payload_alignment = g.payload_alignment;
      request.frame_alignment = g.alignment;
      request.strides = g.strides;
      request.stamped = stamped_;
      request.lossy_allowed = g.lossy_allowed;
      const u64 capacity = capacity_for(request);
      return error(errc::message_too_large, capacity == 0 ? 0 : std::max(capacity, g.ring_bytes));
    }
    case claim_status::too_many: return error(errc::too_many_loans, writer_->unresolved());
    case claim_status::timed_out: return error(errc::timed_out, writer_->refusal().slot);
    case claim_status::interrupted: return error(errc::interrupted, writer_->refusal().slot);
    default: return error(errc::would_block, writer_->refusal().slot);
  }
}

bool publisher_core::refused(u32 payload_bytes, lane_claim& out, bool waits_itself) noexcept {
  refused_bytes_ = payload_bytes;
  if (refusal_ != claim_status::would_block) return false;
  // On the kernel path a socket may take by now what it did not before, and that makes room.
  if (parts_->sockets && parts_->sockets->send_more()) {
    refusal_ = writer_->claim(payload_bytes, out);
    if (refusal_ == claim_status::ok) {
      ++loans_;
      return true;
    }
  }
  // What a loan of one's own has in the way comes with no reader's move.
  const bool for_other_loop = parts_->foreign && !waits_itself && refusal_ == claim_status::would_block;
  return for_other_loop && writer_->refusal().by_reader && look_for_foreign_loop(payload_bytes, out);
}

bool publisher_core::claim(u32 payload_bytes, lane_claim& out, std::chrono::nanoseconds timeout) noexcept {
  return claim(payload_bytes, out) || (worth_waiting() && wait_for_space(payload_bytes, out, timeout));
}

bool publisher_core::worth_waiting() const noexcept {
  // Under `fail` nobody waits; nor for a loan of one's own.
  return epoch_ == fork_epoch && open_ && refusal_ == claim_status::would_block && parts_->policy != policy::fail &&
         (disk_ ? segment_is_due_ : writer_->refusal().by_reader);
}

void publisher_core::announce_waiting(bool waits) noexcept {
  if (disk_) return disk_->announce_waiting(waits);
  if (!waits && parts_->foreign) return;
  u64& waiting = writer_->memory().slot_table->waiting;
  // sync(lane.waiting): release, so that whoever takes the 1 finds us sleeping. A reader that takes one that we have
  // taken back rings a node that is awake.
  store_release(waiting, waits ? 1 : 0);
}

void publisher_core::probe_blocker() noexcept {
  if (disk_) return;
  const u32 slot = writer_->refusal().slot;
  if (parts_->sockets || !writer_->refusal().by_reader || slot >= parts_->control.subscriptions()) return;
  node& self = *parts_->owner;
  const node_id whom = topic::owner_of(parts_->control.subscription(slot));
  if (!self.alive(whom)) self.clean_if_dead(whom, std::chrono::nanoseconds(0));
}

node& publisher_core::owner() const noexcept { return *parts_->owner; }

bool publisher_core::wait_for_space(u32 payload_bytes, lane_claim& out, std::chrono::nanoseconds timeout) noexcept {
  if (disk_) return wait_for_segment(payload_bytes, out, timeout);
  node& self = *parts_->owner;
  const deadline end(timeout);
  const node_settings& settings = self.settings();
  deadline& recheck = parts_->recheck;
  for (;;) {
    const deadline spin(settings.how == wait::block ? std::chrono::nanoseconds(0) : settings.spin_max);
    do {
      if (claim(payload_bytes, out, true)) return true;
      // What was in the way may have moved on, and a loan of one's own be in the way now.
      if (refusal_ != claim_status::would_block || !writer_->refusal().by_reader) return false;
      const bool interrupted = self.take_interrupt();
      if (interrupted || end.over()) {
        refusal_ = interrupted ? claim_status::interrupted : claim_status::timed_out;
        return false;
      }
      cpu_relax();
    } while (settings.how == wait::spin ? !recheck.over() : !spin.over());

    if (settings.how != wait::spin) {
      doze_for_space(
          self.bell(), [&](bool waits) { announce_waiting(waits); },
          [&] { return writer_->would_grant(payload_bytes) || self.interrupt_requested(); },
          [&](nap& pause) { pause.sleep(std::min(end.left(), settings.recheck)); });
      if (self.attachment) self.attachment->slept_beside();
    }
    if (recheck.over()) {
      // Whoever is in the way may be dead.
      probe_blocker();
      recheck = deadline(settings.recheck);
    }
  }
}

result<std::size_t> publisher_core::publish_batch(const std::byte* messages, std::size_t message_bytes,
                                                  std::size_t count) noexcept {
  if (disk_) return publish_batch_on_disk(messages, message_bytes, count);
  bool visible = false;
  std::size_t done = 0;
  const u64 stamp_of_batch = stamped_ ? stamp() : 0;
  for (; done < count; ++done) {
    lane_claim place;
    if (!claim(static_cast<u32>(message_bytes), place)) {
      if (done == 0) return tl::unexpected(why_refused());
      break;
    }
    std::memcpy(place.payload, messages + done * message_bytes, message_bytes);
    visible = writer_->commit(place, place.payload_bytes, stamp_of_batch) || visible;
    --loans_;
  }
  if (visible) wake_sleepers();
  return done;
}

u32 publisher_core::subscribers() const noexcept {
  if (epoch_ != fork_epoch) return 0;
  if (parts_->sockets) return parts_->sockets->subscribers();
  if (disk_) return parts_->control.count_active_subscriptions();
  // Those on our lane, and not those in the topic's table: one that is on its way enters the table first, and does not
  // get what is published before it is on the lane.
  const lane_slots& slots = *writer_->memory().slot_table;
  u32 count = 0;
  for (u32 word = 0; word * 64 < parts_->control.subscriptions(); ++word) {
    // sync(lane.active): it noted where the lane ended before, and reads what is published from now on
    const u64 on = load_acquire(slots.reliable_active[word]) | load_acquire(slots.lossy_active[word]);
    count += static_cast<u32>(std::popcount(on));
  }
  return count;
}

u32 publisher_core::payload_bytes_max() const noexcept {
  return disk_ ? disk_->appender().geometry().payload_bytes_max : writer_->geometry().payload_bytes_max;
}
u64 publisher_core::capacity_bytes() const noexcept {
  return disk_ ? disk_->appender().geometry().segment_bytes : writer_->geometry().ring_bytes;
}
u64 publisher_core::published() const noexcept {
  return disk_ ? disk_->appender().next_sequence() : writer_->next_sequence();
}

bool publisher_core::never_refuses() const noexcept {
  if (disk_) return false;
  const lane_geometry& g = writer_->geometry();
  if (g.reliable_allowed || epoch_ != fork_epoch) return false;
  u64 strides = 2;
  const topic& control = parts_->sockets ? parts_->sockets->control() : parts_->control;
  for (u32 i = 0; i < control.subscriptions(); ++i) {
    if (control.state(control.subscription(i)) != participant_state::active) continue;
    // On the kernel path nobody holds anything in this lane but what a socket did not take.
    strides += parts_->sockets
                   ? 4
                   : 2 + 2 * u64{load_relaxed(control.subscription(i).samples_max)};  // relaxed: ordered by state()
  }
  return strides <= g.strides;
}

blocked_by publisher_core::who_blocks() const noexcept {
  blocked_by who{no_slot, 0, {}};
  if (disk_) return who;  // readers of a directory are in nobody's way
  const bool by_somebody = refusal_ == claim_status::would_block || refusal_ == claim_status::timed_out ||
                           refusal_ == claim_status::interrupted;
  if (epoch_ != fork_epoch || !by_somebody) return who;
  if (parts_->sockets) {
    who.subscription = writer_->refusal().slot;
    parts_->sockets->who_blocks(who.subscription, who.pid, who.node_name);
    return who;
  }
  const u32 slot = writer_->refusal().slot;
  if (slot >= parts_->control.subscriptions()) return who;
  const subscription_entry& subscription = parts_->control.subscription(slot);
  if (parts_->control.state(subscription) != participant_state::active) return who;
  const node_id owner = topic::owner_of(subscription);
  if (owner.index >= parts_->owner->node_count_max()) return who;
  const node_entry& entry = parts_->owner->entry_at(owner.index);
  // relaxed: for people; an entry that is somebody else's by now names nobody
  if (load_relaxed(entry.generation) != owner.generation) return who;
  who.subscription = slot;
  who.pid = load_relaxed(entry.pid);  // relaxed: for people
  std::memcpy(who.node_name, entry.name, sizeof who.node_name);
  who.node_name[sizeof who.node_name - 1] = '\0';
  return who;
}

}  // namespace quoit::inline v1::detail
