#include "storage/segment_keeper.hpp"

#include <utility>

#include "storage/log_lane.hpp"
#include "storage/retention.hpp"
#include "storage/segment_growth.hpp"

namespace quoit::inline v1::detail {

namespace {

using std::chrono::steady_clock;

constexpr auto retry_after = std::chrono::milliseconds(50);
// Where everything is touched, it is done in steps, between which the helper does what is more urgent, and may be
// stopped: each can wait for a disk, as the kernel slows those down who write more than it takes.
constexpr u64 populate_step_bytes = u64{8} << 20;
// So much publishing shall fit into what is ready: the helper may be kept waiting that long by a file system that
// writes its journal.
constexpr auto covered_time = std::chrono::milliseconds(250);

// Retention is for bytes on a disk, and segments that wait to be used are some: a quarter of what is kept at most.
u32 limit_of_spares(const keeper_options& o) noexcept {
  u64 limit = segment_keeper::spare_bytes_max / o.kind.segment_bytes;
  for (const u64 kept : {o.retention.bytes, o.retention.bytes_max}) {
    if (kept != 0) limit = std::min(limit, kept / 4 / o.kind.segment_bytes);
  }
  return static_cast<u32>(std::clamp<u64>(limit, 1, segment_keeper::spares_max));
}

segment_memory memory_of(const segment_file& file, u64 begin) noexcept {
  segment_clock clock{};
  file.read_clock(clock);
  const segment_geometry& g = file.geometry;
  return {file.data(),  &file.entry(0), begin,           file.number, clock.first,
          g.data_bytes, g.index_shift,  g.index_entries, file.salt};
}

}  // namespace

segment_keeper::segment_keeper(keeper_options options, const log_lane& lane, std::shared_ptr<segment_file> current,
                               const log_place& place)
    : options_(std::move(options)),
      spares_limit_(limit_of_spares(options_)),
      frames_max_(frames_max(make_segment_geometry(options_.kind).value())),
      place_(lane),
      where_(lane.where),
      lane_(lane.header()),
      taken_sequence_(place.sequence),
      taken_at_(steady_clock::now()),
      next_sync_(steady_clock::now()),
      retention_(lane, options_.retention, options_.calls.clocks),
      newest_(current->number),
      newest_bytes_(current->geometry.segment_bytes),
      limit_(known_limit(lane_)),
      recorded_begun_(current->number),
      next_look_(steady_clock::now() + between_looks_at_path),
      looked_at_(place.position) {
  segment_start start{};
  current->read_start(start);
  populate_ahead(*current, place.position - start.position);
  if (options_.durability == log_durability::os) {
    advise_large_pages(current->memory);
    whole_ = current;
    whole_from_ = current->geometry.data_offset + (place.position - start.position) + window_bytes;
  }
  kept_.push_back({std::move(current), start.position, ~u64{0}, false, false});
  // What was torn, or is further than the lane goes, is not believed.
  requested_ = durable_ = std::min(known_durable(lane_), place.position);
}

segment_memory segment_keeper::current() const noexcept { return memory_of(*kept_.back().file, kept_.back().begin); }

// ---- the publisher's side ------------------------------------------------------------------------------

append_status segment_keeper::next(const place& at, const segment_clock& clock, segment_memory& out) noexcept {
  append_status status = append_status::ok;
  const auto now = steady_clock::now();
  {
    const std::lock_guard hold(mutex_);
    if (path_failure_.code() != errc{}) {
      status = append_status::no_space;
    } else if (spares_.empty() || spares_.front()->geometry.data_bytes < at.frame_bytes) {
      // It came for one before it was there: as many as may be, from now on.
      if (spares_.empty()) wanted_ = spares_limit_;
      frame_bytes_ = at.frame_bytes;
      status = supply_failure_.code() != errc{} ? append_status::no_space : append_status::not_ready;
    } else {
      const segment_file& file = *spares_.front();
      segment_clock record = clock;
      if (record.first == 0) record.first = file.number;
      file.write_clock(record);
      out = memory_of(file, at.begin);
      kept_.push_back({std::move(spares_.front()), at.begin, ~u64{0}, false, false});
      spares_.pop_front();
      taken_sequence_ = at.sequence;
      frame_bytes_ = 0;
      want_spares(now);
    }
  }
  work_.notify_one();
  return status;
}

// More at once, fewer one by one.
void segment_keeper::want_spares(steady_clock::time_point now) noexcept {
  const auto lasted = std::max<steady_clock::duration>(now - taken_at_, std::chrono::microseconds(1));
  taken_at_ = now;
  const u32 needed = static_cast<u32>(std::min<u64>(1 + static_cast<u64>(covered_time / lasted), spares_limit_));
  wanted_ = std::max(needed, wanted_ - (wanted_ > 1 ? 1 : 0));
}

void segment_keeper::starts(u64 number, const log_place& place, u64 left_at) noexcept {
  {
    const std::lock_guard hold(mutex_);
    note_start(number, place, left_at);
  }
  work_.notify_one();
}

void segment_keeper::note_start(u64 number, const log_place& place, u64 left_at) noexcept {
  bool failed = false;
  for (kept_segment& kept : kept_) {
    if (kept.file->number < number) {
      if (kept.file->number + 1 == number) {
        // What failed of it reaches as far as there are frames, and not into what is published from here on.
        const u64 end = kept.begin + kept.file->geometry.data_bytes;
        for (range& r : failed_) r.end = r.end == end ? left_at : r.end;
        kept.end = left_at;
      }
      kept.passed = true;
      failed = kept.failed && kept.file->number + 1 == number;
    } else if (kept.file->number == number) {
      // relaxed: the release of the start's check orders it for whoever reads it after our death
      if (failed) store_relaxed(kept.file->header().start.after_failure, segment_failure_mark);
      kept.file->write_start({place.position, place.sequence, place.voids, place.stamp, options_.epoch_begin, 0, 0});
    }
  }
}

void segment_keeper::request(u64 position) noexcept {
  {
    const std::lock_guard hold(mutex_);
    if (position <= requested_) return;
    requested_ = position;
    not_tried_ = {};
  }
  work_.notify_one();
}

void segment_keeper::write_back_here(u64 position) {
  {
    const std::lock_guard hold(mutex_);
    requested_ = std::max(requested_, position);
    not_tried_ = {};
  }
  write_back();
}

// ---- what anybody asks ---------------------------------------------------------------------------------

flush_status segment_keeper::status_locked(u64 since, u64 position) const noexcept {
  if (path_failure_.code() != errc{}) return flush_status::failed;
  if (position > not_tried_.begin && position <= not_tried_.end) return flush_status::failed;
  if (position > durable_) return flush_status::pending;
  for (const range& r : failed_) {
    if (r.begin < position && r.end > since) return flush_status::failed;
  }
  return flush_status::durable;
}

flush_status segment_keeper::status_of(u64 since, u64 position) const {
  const std::lock_guard hold(mutex_);
  return status_locked(since, position);
}

flush_status segment_keeper::wait(u64 since, u64 position, std::chrono::nanoseconds timeout) {
  std::unique_lock hold(mutex_);
  moved_.wait_for(hold, timeout, [&] { return status_locked(since, position) != flush_status::pending; });
  return status_locked(since, position);
}

u64 segment_keeper::durable_position() const {
  const std::lock_guard hold(mutex_);
  return durable_;
}

u64 segment_keeper::durable_position(u64 since) const {
  const std::lock_guard hold(mutex_);
  u64 position = durable_;
  for (const range& r : failed_) {
    if (r.end > since) position = std::min(position, std::max(r.begin, since));
  }
  return position;
}

u64 segment_keeper::word_at(u64 position) const {
  const std::lock_guard hold(mutex_);
  for (const kept_segment& kept : kept_) {
    if (position < kept.begin || position - kept.begin >= kept.file->geometry.data_bytes) continue;
    // relaxed: what the publisher asks for it has stored itself
    return load_relaxed(memory_of(*kept.file, kept.begin).word(position));
  }
  return 0;
}

u32 segment_keeper::spares() const {
  const std::lock_guard hold(mutex_);
  return is_too_small() ? 0 : static_cast<u32>(spares_.size());
}

u32 segment_keeper::spares_wanted() const {
  const std::lock_guard hold(mutex_);
  return wanted_;
}

error segment_keeper::supply_failure() const {
  const std::lock_guard hold(mutex_);
  return path_failure_.code() != errc{} ? path_failure_ : supply_failure_;
}

error segment_keeper::sync_failure() const {
  const std::lock_guard hold(mutex_);
  return path_failure_.code() != errc{} ? path_failure_ : sync_failure_;
}

// ---- the helper's side ---------------------------------------------------------------------------------

bool segment_keeper::work() {
  // What is waited for comes first.
  bool did = write_back();
  did = populate_current() || did;
  did = make_spare() || did;
  record_begun();
  did = drop_passed() || did;
  if (path_look_due()) look_at_path();
  return retain() || did;
}

bool segment_keeper::path_look_due() noexcept {
  {
    const std::lock_guard hold(mutex_);
    if (path_failure_.code() != errc{}) return true;
  }
  const auto now = steady_clock::now();
  if (now < next_look_ || appender_ == nullptr) return false;
  next_look_ = now + between_looks_at_path;
  const u64 frontier = appender_->frontier();
  return std::exchange(looked_at_, frontier) != frontier;
}

// False: the path leads elsewhere, and the publisher is told.
bool segment_keeper::look_at_path() {
  const bool here = place_.is_at_its_path();
  {
    const std::lock_guard hold(mutex_);
    if (here == (path_failure_.code() == errc{})) return here;
    path_failure_ = here ? error(errc{})
                         : error(errc::not_found, place_.path +
                                                      " is not the file any more that this publisher has locked: its "
                                                      "directory, or one above, was renamed, removed or replaced. "
                                                      "Nobody finds there what is published: put it back, or close "
                                                      "the publisher and open it again");
  }
  if (!here && appender_ != nullptr) appender_->leave();
  work_.notify_one();
  moved_.notify_all();
  if (done_) done_();
  return here;
}

bool segment_keeper::is_too_small() const noexcept {
  return !spares_.empty() && spares_.front()->geometry.data_bytes < frame_bytes_;
}

bool segment_keeper::spare_due() const noexcept {
  return (spares_.size() < wanted_ || is_too_small()) && steady_clock::now() >= next_attempt_;
}

void segment_keeper::wait_for_work() {
  std::unique_lock hold(mutex_);
  const auto due = [&] {
    return stop_ || spare_due() || requested_ > durable_ || is_drop_due() ||
           kept_.back().file->number != retained_last_;
  };
  auto until = next_look_;
  if (options_.durability == log_durability::interval) until = std::min(until, next_sync_);
  if (spares_.size() < wanted_ || is_too_small()) until = std::min(until, next_attempt_);
  if (path_failure_.code() != errc{}) until = std::min(until, steady_clock::now() + retry_after);
  if (const auto retention = retention_.due_in()) until = std::min(until, steady_clock::now() + *retention);
  work_.wait_until(hold, until, due);
}

void segment_keeper::stop() {
  {
    const std::lock_guard hold(mutex_);
    stop_ = true;
  }
  work_.notify_all();
}

bool segment_keeper::stopped() const {
  const std::lock_guard hold(mutex_);
  return stop_;
}

bool segment_keeper::make_spare() {
  {
    const std::lock_guard hold(mutex_);
    if (stop_ || !spare_due()) return false;
  }
  if (!look_at_path()) {
    const std::lock_guard hold(mutex_);
    next_attempt_ = steady_clock::now() + retry_after;
    return true;
  }
  if (!remove_small_spares()) {
    if (done_) done_();
    return true;
  }
  const bool durable = options_.durability != log_durability::os;
  u64 frame_bytes = 0;
  {
    const std::lock_guard hold(mutex_);
    frame_bytes = frame_bytes_;
  }
  result<std::shared_ptr<segment_file>> made;
  if (auto reserved = reserve_for_spare(); reserved) {
    made = make_segment(where_, newest_ + 1, grown_segment(options_.kind, newest_bytes_, frame_bytes), durable,
                        options_.calls);
  } else {
    made = tl::unexpected(std::move(reserved.error()));
  }
  if (made) {
    const segment_file& file = **made;
    ++newest_;
    newest_bytes_ = file.geometry.segment_bytes;
    if (durable) {
      options_.calls.populate(file.memory, 0, file.geometry.data_offset + window_bytes);
    } else {
      populate_whole(file);
    }
  }
  {
    const std::lock_guard hold(mutex_);
    if (made) {
      spares_.push_back(std::move(*made));
      supply_failure_ = error(errc{});
    } else {
      supply_failure_ = std::move(made.error());
      next_attempt_ = steady_clock::now() + retry_after;
    }
  }
  if (done_) done_();
  return true;
}

// Spares that have no room for the frame that waits, the last first: where this process dies meanwhile, no number is
// missing between two. False: one could not be removed, and it is tried again later.
bool segment_keeper::remove_small_spares() noexcept {
  for (;;) {
    std::shared_ptr<segment_file> last;
    {
      const std::lock_guard hold(mutex_);
      if (!is_too_small()) return true;
      last = std::move(spares_.back());
      spares_.pop_back();
      newest_ = last->number - 1;
      newest_bytes_ = (spares_.empty() ? kept_.back().file : spares_.back())->geometry.segment_bytes;
    }
    auto removed = remove_segment(where_, last->number, lane_.lane_id);
    if (removed) continue;
    const std::lock_guard hold(mutex_);
    newest_ = last->number;
    newest_bytes_ = last->geometry.segment_bytes;
    spares_.push_back(std::move(last));
    supply_failure_ = std::move(removed.error());
    next_attempt_ = steady_clock::now() + retry_after;
    return false;
  }
}

// All that fits into what can be taken, and one more; the next step is taken before it is needed.
result<void> segment_keeper::reserve_for_spare() {
  u64 needed = 0;
  {
    const std::lock_guard hold(mutex_);
    needed = taken_sequence_ + (spares_.size() + 2) * frames_max_;
  }
  if (needed + options_.sequences_reserved / 2 <= limit_) return {};
  note_limit(lane_, needed + options_.sequences_reserved);
  auto written = synchronize_lane(place_, options_.calls);
  if (written) limit_ = needed + options_.sequences_reserved;
  return written || needed > limit_ ? written : result<void>();
}

// On this thread: a store into a page that was written back can wait for the file system's journal.
void segment_keeper::record_begun() {
  u64 number = 0;
  {
    const std::lock_guard hold(mutex_);
    for (const kept_segment& kept : kept_) {
      segment_start start{};
      if (kept.file->read_start(start)) number = kept.file->number;
    }
  }
  if (number <= recorded_begun_) return;
  recorded_begun_ = number;
  note_begun(lane_, number);
}

// Or as much as is done when it is stopped: nobody will come there then.
void segment_keeper::populate_whole(const segment_file& file) {
  const u64 end = file.memory.bytes();
  for (u64 at = 0; at < end && !stopped(); at += populate_step_bytes) {
    options_.calls.populate(file.memory, at, std::min(at + populate_step_bytes, end));
  }
}

// The segment in which the publisher began has all of its pages before long, and opening the lane does not wait for it.
bool segment_keeper::populate_current() {
  if (whole_ == nullptr) return false;
  {
    const std::lock_guard hold(mutex_);
    if (stop_ || kept_.back().file != whole_) whole_ = nullptr;
  }
  if (whole_ == nullptr) return false;
  const u64 end = std::min(whole_from_ + populate_step_bytes, whole_->memory.bytes());
  if (whole_from_ < end) options_.calls.populate(whole_->memory, whole_from_, end);
  whole_from_ = end;
  if (end == whole_->memory.bytes()) whole_ = nullptr;
  return true;
}

void segment_keeper::remove_spares() noexcept {
  // The last first: whoever dies here leaves no gap.
  for (; !spares_.empty(); spares_.pop_back()) {
    const segment_file& spare = *spares_.back();
    const std::string name = segment_name(spare.number);
    // Also from under a reader that waits for its first message.
    struct stat status{};
    if (!where_.find(name, status) || file_identity::of(status) != spare.file || !where_.remove(name)) return;
  }
}

// The oldest segment is not needed any more: it is all passed, and written back where that is asked for.
bool segment_keeper::is_drop_due() const noexcept {
  const kept_segment& first = kept_.front();
  return kept_.size() > 1 && first.passed &&
         (options_.durability == log_durability::os || first.failed ||
          durable_ >= first.begin + first.file->geometry.data_bytes);
}

bool segment_keeper::drop_passed() {
  std::vector<std::shared_ptr<segment_file>> gone;  // unmapped outside of the lock
  {
    const std::lock_guard hold(mutex_);
    while (is_drop_due()) {
      gone.push_back(std::move(kept_.front().file));
      kept_.pop_front();
    }
  }
  return !gone.empty();
}

bool segment_keeper::retain() {
  segment_retention::publisher_place place{};
  {
    const std::lock_guard hold(mutex_);
    if (stop_) return false;
    place.first_kept = kept_.front().file->number;
    place.last = retained_last_ = kept_.back().file->number;
    kept_.back().file->read_clock(place.clock);
  }
  return retention_.step(place);
}

}  // namespace quoit::inline v1::detail
