// Publishers of topics on disk: what in them is not as in memory. Their lane is a directory of segments (src/storage);
// everything else, who is there and who is woken, is the topic's.
#include <algorithm>
#include <cstring>

#include "base/file_lock.hpp"
#include "bus/attempts.hpp"
#include "bus/disk_lane.hpp"
#include "bus/elsewhere.hpp"
#include "bus/publisher_parts.hpp"
#include "quoit/sleep.hpp"
#include "topic/names.hpp"
#include "wake/doze.hpp"

namespace quoit::inline v1::detail {

namespace {

claim_status status_of(append_status status) noexcept {
  switch (status) {
    case append_status::ok: return claim_status::ok;
    case append_status::too_large: return claim_status::too_large;
    case append_status::too_many: return claim_status::too_many;
    case append_status::no_space: return claim_status::no_space;
    case append_status::not_ready:
    case append_status::would_block: break;
  }
  return claim_status::would_block;
}

void write_disk_entry(publisher_entry& entry, const node_id& self, u64 generation, policy how, const u64 (&lane_id)[2],
                      const std::string& name) {
  // relaxed: ordered by the release of the state
  store_relaxed(entry.lane_generation, generation);
  store_relaxed(entry.node_generation, self.generation);  // relaxed: as above
  store_relaxed(entry.node, self.index);                  // relaxed: as above
  store_relaxed(entry.policy, static_cast<u32>(how));     // relaxed: as above
  store_relaxed(entry.id[0], lane_id[0]);                 // relaxed: as above
  store_relaxed(entry.id[1], lane_id[1]);                 // relaxed: as above
  store_relaxed(entry.on_disk, 1);                        // relaxed: as above
  store_relaxed(entry.pipe, 0);                           // relaxed: as above
  std::memset(entry.lane_name, 0, sizeof entry.lane_name);
  name.copy(entry.lane_name, sizeof entry.lane_name);
  // sync(topic.entry): the entry is whole for whoever finds it in use
  store_release(entry.state, static_cast<u64>(participant_state::active));
}

}  // namespace

// ---- opening -------------------------------------------------------------------------------------------

disk_opening::disk_opening(std::shared_ptr<node> owner, std::string_view topic, const message_type& type,
                           const publisher_options& options)
    : owner_(std::move(owner)),
      topic_(topic),
      type_name_(type.name),
      type_fields_(type.fields),
      directory_(options.directory),
      publisher_name_(options.publisher_name),
      type_(type),
      options_(options) {
  type_.name = type_name_;
  type_.fields = type_fields_;
  options_.directory = directory_;
  options_.publisher_name = publisher_name_;
}

result<void> disk_opening::prepare() {
  if (owner_->on_kernel()) {
    return tl::unexpected(
        error(errc::invalid_argument,
              "a topic on disk is for a bus in shared memory, and this one goes through the kernel (" +
                  owner_->why_transport() + "): leave publisher_options.directory out"));
  }
  if (auto ok = check_options(options_); !ok) return ok;
  auto bare = checked_topic_name(topic_);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  topic_ = *bare;
  auto writing = disk_options_for(topic_, type_, options_);
  if (!writing) return tl::unexpected(std::move(writing.error()));
  writing_ = std::move(*writing);
  auto place = place_asked_for(directory_, topic_);
  if (!place) return tl::unexpected(std::move(place.error()));
  place_ = std::move(*place);
  return {};
}

result<topic::opened> disk_opening::open_topic(std::chrono::nanoseconds lock_timeout) {
  return topic::open(owner_, topic_, {type_.name, type_.bytes, type_.alignment, type_.fields}, options_.limits,
                     lock_timeout, place_);
}

result<void> disk_opening::ask_topic(std::chrono::nanoseconds lock_timeout) {
  const lock_wait_limit limit(lock_timeout);
  auto opened = open_topic(lock_timeout);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  auto entry = find_entry(opened->control);
  opened->control.remove_if_unused();
  if (!entry) return tl::unexpected(std::move(entry.error()));
  return {};
}

result<void> disk_opening::open_lane() {
  for (int attempt = 0; attempt < open_attempts_max; ++attempt) {
    made_.emplace();
    auto directory = make_topic_directory(directory_, topic_, &*made_);
    if (!directory) return tl::unexpected(std::move(directory.error()));
    writing_.directory = directory->as_named;
    place_ = {directory->root, directory->topic.device, directory->topic.inode};
    auto writer = log_writer::open(writing_);
    if (!writer) return tl::unexpected(std::move(writer.error()));
    // With the lane in it nobody removes the directory any more, as one does who made it and was refused.
    auto now = find_topic_directory(directory_, topic_);
    if (!now && now.error() != errc::not_found) return tl::unexpected(std::move(now.error()));
    if (!now || now->topic != directory->topic) continue;
    writer_ = std::move(*writer);
    std::copy_n(writer_->lane_id(), 2, lane_id_);
    return {};
  }
  return tl::unexpected(
      error(errc::busy, directory_ + ": the directory of topic " + topic_ + " is removed or replaced again and again"));
}

result<u32> disk_opening::find_entry(topic& control) {
  control.clean_dead(*owner_);
  u32 index = 0;
  while (index < control.publishers() && control.state(control.publisher(index)) != participant_state::free &&
         !control.retire_lane_if_left(index)) {
    ++index;
  }
  if (index == control.publishers()) {
    return tl::unexpected(topic_is_full(control.name(), index, "lanes", "publishers_max", index));
  }
  return index;
}

void disk_opening::enter_table(topic& control, u32 index) {
  // relaxed: under the topic's lock
  const u64 generation = load_relaxed(control.header().next_lane_generation);
  store_release(control.header().next_lane_generation, generation + 1);  // sync(topic.entry): spent before it is used
  write_disk_entry(control.publisher(index), owner_->id(), generation, options_.policy, lane_id_, publisher_name_);
  control.roster_changed(*owner_, index);
}

result<void> disk_opening::measure_ends() { return ends_.measure(writing_.directory, topic_); }

result<publisher_core*> disk_opening::enter(std::chrono::nanoseconds lock_timeout) {
  const lock_wait_limit limit(lock_timeout);
  std::unique_ptr<disk_lane> lane;  // goes behind the topic's lock: it may have to wait for a disk
  auto opened = open_topic(lock_timeout);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  topic& control = opened->control;
  if (opened->moves && !ends_.are_known(control)) return nullptr;
  auto parts = std::make_unique<publisher_parts>();
  const auto refused = [&](error why) {
    control.remove_if_unused();
    return tl::unexpected(std::move(why));
  };
  auto index = find_entry(control);
  if (!index) return refused(std::move(index.error()));
  if (opened->moves) {
    if (auto moved = control.move_to(*owner_, place_, ends_.text()); !moved) return refused(std::move(moved.error()));
  }
  auto started = disk_lane::start(std::move(writer_), *owner_, writing_);
  if (!started) return refused(std::move(started.error()));
  lane = std::move(*started);
  enter_table(control, *index);
  lane->keep();
  made_->keep();
  parts->owner = owner_;
  parts->control = std::move(control);
  parts->policy = options_.policy;
  parts->disk = std::move(lane);
  parts->index = *index;
  return new publisher_core(std::move(parts));
}

result<publisher_core*> publisher_core::open_on_disk(const std::shared_ptr<node>& owner, std::string_view topic,
                                                     const message_type& type, const publisher_options& options) {
  if (owner->forked()) return tl::unexpected(error(errc::forked));
  const std::chrono::nanoseconds lock_timeout = owner->settings().lock_timeout;
  disk_opening opening(owner, topic, type, options);
  auto ok = opening.prepare();
  if (ok) ok = opening.ask_topic(lock_timeout);
  if (ok) ok = opening.open_lane();
  if (!ok) return tl::unexpected(std::move(ok.error()));
  for (;;) {
    auto entered = opening.enter(lock_timeout);
    if (!entered || *entered != nullptr) return entered;
    if (ok = opening.measure_ends(); !ok) return tl::unexpected(std::move(ok.error()));
  }
}

namespace {

using opening_step = result<void> (disk_opening::*)();

task<result<void>> step_elsewhere(disk_opening& opening, opening_step step) {
  auto work = [&opening, step] { return (opening.*step)(); };
  auto done = co_await do_elsewhere(work);
  co_return done;
}

}  // namespace

task<result<publisher_core::owned>> publisher_core::open_on_disk_async(std::shared_ptr<node> owner,
                                                                       std::string_view topic, message_type type,
                                                                       publisher_options options) {
  if (owner->forked()) co_return tl::unexpected(error(errc::forked));
  disk_opening opening(owner, topic, type, options);
  auto ok = co_await step_elsewhere(opening, &disk_opening::prepare);
  if (!ok) co_return tl::unexpected(std::move(ok.error()));
  // Asked twice: before anything is made in the directory, and to be entered.
  bool lane_is_open = false;
  deadline end(owner->settings().lock_timeout);
  for (;;) {
    if (lane_is_open) {
      auto entered = opening.enter(without_waiting);
      if (entered && *entered != nullptr) co_return owned(*entered);
      if (entered) {
        ok = co_await step_elsewhere(opening, &disk_opening::measure_ends);
        if (!ok) co_return tl::unexpected(std::move(ok.error()));
        continue;
      }
      ok = tl::unexpected(std::move(entered.error()));
    } else {
      ok = opening.ask_topic(without_waiting);
    }
    if (ok) {
      ok = co_await step_elsewhere(opening, &disk_opening::open_lane);
      if (!ok) co_return tl::unexpected(std::move(ok.error()));
      lane_is_open = true;
      end = deadline(owner->settings().lock_timeout);
      continue;
    }
    if (ok.error() != errc::busy || end.over()) co_return tl::unexpected(std::move(ok.error()));
    const auto slept = co_await sleep_for(between_attempts);
    if (!slept) co_return tl::unexpected(slept.error());
  }
}

// ---- publishing ----------------------------------------------------------------------------------------

bool publisher_core::claim_elsewhere(u32 payload_bytes, lane_claim& out) noexcept {
  if (epoch_ != fork_epoch || !open_) return false;
  const append_status status = disk_->appender().claim(payload_bytes, out);
  if (status == append_status::ok) [[likely]] {
    refusal_ = claim_status::ok;
    ++loans_;
    return true;
  }
  refusal_ = status_of(status);
  segment_is_due_ = status == append_status::not_ready;
  refused_bytes_ = payload_bytes;
  return false;
}

void publisher_core::commit_elsewhere(const lane_claim& claim, u32 payload_bytes) noexcept {
  // A child has no mapping of a segment, and a lane in memory that is closed has made the claim void.
  if (epoch_ == fork_epoch && disk_) {
    segment_appender& lane = disk_->appender();
    if (payload_bytes != abandoned && open_ ? lane.commit(claim, payload_bytes) : lane.abandon(claim)) wake_sleepers();
  }
  give_back();
}

result<std::size_t> publisher_core::publish_batch_on_disk(const std::byte* messages, std::size_t message_bytes,
                                                          std::size_t count) noexcept {
  bool visible = false;
  std::size_t done = 0;
  for (; done < count; ++done) {
    lane_claim place;
    if (!claim_elsewhere(static_cast<u32>(message_bytes), place)) {
      if (done == 0) return tl::unexpected(why_refused());
      break;
    }
    std::memcpy(place.payload, messages + done * message_bytes, message_bytes);
    visible = disk_->appender().commit(place, place.payload_bytes) || visible;
    --loans_;
  }
  if (visible) wake_sleepers();
  return done;
}

error publisher_core::why_refused_on_disk() const noexcept {
  switch (refusal_) {
    case claim_status::too_large: {
      const u64 needed = disk_->segment_bytes_for(refused_bytes_);
      return error(errc::message_too_large, needed == 0 ? 0 : std::max(needed, capacity_bytes()));
    }
    case claim_status::too_many: return error(errc::too_many_loans, disk_->appender().unresolved());
    case claim_status::timed_out: return error(errc::timed_out, no_slot);
    case claim_status::interrupted: return error(errc::interrupted, no_slot);
    case claim_status::no_space: {
      // Whatever kept the file from being made: as a rule a full disk.
      error why = disk_->keeper().supply_failure();
      return why == errc{} ? error(errc::would_block, no_slot) : why;
    }
    default: return error(errc::would_block, no_slot);
  }
}

// The keeper rings when the next segment is there, or can not be made.
bool publisher_core::wait_for_segment(u32 payload_bytes, lane_claim& out, std::chrono::nanoseconds timeout) noexcept {
  node& self = *parts_->owner;
  const deadline end(timeout);
  for (;;) {
    if (claim_elsewhere(payload_bytes, out)) return true;
    if (refusal_ != claim_status::would_block || !segment_is_due_) return false;
    const bool interrupted = self.take_interrupt();
    if (interrupted || end.over()) {
      refusal_ = interrupted ? claim_status::interrupted : claim_status::timed_out;
      return false;
    }
    doze_for_space(
        self.bell(), [&](bool waits) { announce_waiting(waits); },
        [&] { return disk_->supply_changed() || self.interrupt_requested(); },
        [&](nap& pause) { pause.sleep(std::min(end.left(), self.settings().recheck)); });
    if (self.attachment) self.attachment->slept_beside();
  }
}

// ---- the disk ------------------------------------------------------------------------------------------

publisher_core::flush_range publisher_core::request_flush() noexcept { return disk_->request_flush(); }

publisher_core::flushing publisher_core::flush_status(const flush_range& asked) noexcept {
  switch (disk_->flush_status_of(asked)) {
    case detail::flush_status::durable: return flushing::done;
    case detail::flush_status::failed: return flushing::failed;
    case detail::flush_status::pending: break;
  }
  return flushing::pending;
}

error publisher_core::why_not_flushed() const { return disk_->keeper().sync_failure(); }

result<void> publisher_core::flush_on_disk(std::chrono::nanoseconds timeout) noexcept {
  bool interrupted = false;
  switch (disk_->flush(timeout, interrupted)) {
    case detail::flush_status::durable: return {};
    case detail::flush_status::failed: return tl::unexpected(why_not_flushed());
    case detail::flush_status::pending: break;
  }
  return tl::unexpected(error(interrupted ? errc::interrupted : errc::timed_out));
}

u64 publisher_core::durable_sequence() noexcept {
  return disk_ && epoch_ == fork_epoch ? disk_->durable_sequence() : 0;
}

recovery_summary publisher_core::recovery() const {
  if (!disk_) return {};
  const recovery_report& report = disk_->report();
  return {report.segments, report.bytes_cut, report.cut_sequence, report.cut, report.sequences_skipped};
}

}  // namespace quoit::inline v1::detail
