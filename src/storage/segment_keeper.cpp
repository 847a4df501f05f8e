#include "storage/segment_keeper.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/clock.hpp"
#include "storage/log_lane.hpp"
#include "storage/retention.hpp"

namespace quoit::inline v1::detail {

namespace {

using std::chrono::steady_clock;

// What is written back is not touched much further ahead than it will be filled: every page that is touched is written.
constexpr u64 window_bytes = u64{1} << 20;
constexpr u64 window_step_bytes = u64{256} << 10;
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
  return {file.data(), &file.entry(0), begin, file.number, clock.first, file.salt};
}

}  // namespace

segment_keeper::segment_keeper(keeper_options options, const log_lane& lane, std::shared_ptr<segment_file> current,
                               const log_place& place)
    : options_(std::move(options)),
      spares_limit_(limit_of_spares(options_)),
      place_(lane),
      where_(lane.where),
      lane_(lane.header()),
      taken_sequence_(place.sequence),
      taken_at_(steady_clock::now()),
      next_sync_(steady_clock::now()),
      retention_(lane, options_.retention, options_.calls.clocks),
      newest_(current->number),
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

segment_clock segment_keeper::clock() const {
  const std::lock_guard hold(mutex_);
  segment_clock clock{};
  kept_.back().file->read_clock(clock);
  return clock;
}

// ---- the publisher's side ------------------------------------------------------------------------------

append_status segment_keeper::next(u64 begin, u64 sequence, const segment_clock& clock, segment_memory& out) noexcept {
  append_status status = append_status::ok;
  const auto now = steady_clock::now();
  {
    const std::lock_guard hold(mutex_);
    if (path_failure_.code() != errc{}) {
      status = append_status::no_space;
    } else if (spares_.empty()) {
      // It came for one before it was there: as many as may be, from now on.
      wanted_ = spares_limit_;
      status = supply_failure_.code() != errc{} ? append_status::no_space : append_status::not_ready;
    } else {
      const segment_file& file = *spares_.front();
      segment_clock record = clock;
      if (record.first == 0) record.first = file.number;
      file.write_clock(record);
      out = memory_of(file, begin);
      kept_.push_back({std::move(spares_.front()), begin, ~u64{0}, false, false});
      spares_.pop_front();
      taken_sequence_ = sequence;
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
  return static_cast<u32>(spares_.size());
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

bool segment_keeper::spare_due() const noexcept {
  return spares_.size() < wanted_ && steady_clock::now() >= next_attempt_;
}

void segment_keeper::wait_for_work() {
  std::unique_lock hold(mutex_);
  const auto due = [&] {
    return stop_ || spare_due() || requested_ > durable_ || is_drop_due() ||
           kept_.back().file->number != retained_last_;
  };
  auto until = next_look_;
  if (options_.durability == log_durability::interval) until = std::min(until, next_sync_);
  if (spares_.size() < wanted_) until = std::min(until, next_attempt_);
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
  const bool durable = options_.durability != log_durability::os;
  result<std::shared_ptr<segment_file>> made;
  if (auto reserved = reserve_for_spare(); reserved) {
    made = make_segment(where_, newest_ + 1, options_.kind, durable, options_.calls);
  } else {
    made = tl::unexpected(std::move(reserved.error()));
  }
  if (made) {
    const segment_file& file = **made;
    ++newest_;
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

// All that fits into what can be taken, and one more; the next step is taken before it is needed.
result<void> segment_keeper::reserve_for_spare() {
  u64 needed = 0;
  {
    const std::lock_guard hold(mutex_);
    needed = taken_sequence_ + (spares_.size() + 2) * frames_max(kept_.back().file->geometry);
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

bool segment_keeper::write_back() {
  if (appender_ == nullptr) return false;
  const std::lock_guard one(writing_back_);
  u64 position = 0;
  std::vector<kept_segment> to_sync;
  u64 durable = 0;
  u64 first_kept = 0;
  {
    const std::lock_guard hold(mutex_);
    // Everything that is there goes with what was asked for: group commit. Under the lock, so that nobody has asked for
    // more than what is seen here.
    position = appender_->frontier();
    const bool interval_over = options_.durability == log_durability::interval && steady_clock::now() >= next_sync_;
    if (position <= durable_) requested_ = std::min(requested_, std::max(position, durable_));
    if (position <= durable_ || (requested_ <= durable_ && !interval_over)) {
      if (interval_over) next_sync_ = steady_clock::now() + options_.interval;
      return false;
    }
    for (const kept_segment& kept : kept_) {
      // Passed ones that are on the disk whole, with the roll at their end, may not have been let go of yet.
      const bool whole = kept.begin + kept.file->geometry.data_bytes <= durable_;
      if (kept.begin < position && !whole && !kept.failed) to_sync.push_back(kept);
    }
    durable = durable_;
    first_kept = kept_.front().file->number;
  }
  if (!look_at_path()) return could_not(position, sync_failure());
  if (options_.durability == log_durability::os) {
    if (auto written = write_back_passed(durable, first_kept, position); !written) {
      return could_not(position, std::move(written.error()));
    }
  }
  // Behind one that failed it goes on: the next has its mark already, and nobody might come again for the rest.
  for (const kept_segment& kept : to_sync) synchronize(kept.file, kept.begin, position);
  {
    const std::lock_guard hold(mutex_);
    next_sync_ = steady_clock::now() + options_.interval;
  }
  if (done_) done_();
  return true;
}

void segment_keeper::synchronize(const std::shared_ptr<segment_file>& file, u64 begin, u64 position) {
  const u64 end = begin + file->geometry.data_bytes;
  int why = 0;
  while (options_.calls.synchronize(file->descriptor.get()) != 0) {
    why = errno;
    if (why != EINTR) break;
    why = 0;
  }
  if (why == 0) {
    const u64 reached = std::min(position, end);
    {
      const std::lock_guard hold(mutex_);
      durable_ = std::max(durable_, reached);
    }
    show_durable(reached);
    moved_.notify_all();
    work_.notify_one();  // the publisher may have written this back
    if (reached < end) populate_ahead(*file, reached - begin);
    return;
  }
  bool current = false;
  {
    const std::lock_guard hold(mutex_);
    u64 last = end;
    for (kept_segment& kept : kept_) {
      if (kept.file != file) continue;
      kept.failed = true;
      last = std::min(last, kept.end);
    }
    failed_.push_back({std::max(durable_, begin), last});
    durable_ = std::max(durable_, end);
    sync_failure_ = error(errc::system, "writing back " + file->path, 0, why);
    current = kept_.back().file == file;
    // relaxed: a counter
    store_relaxed(lane_.failures, load_relaxed(lane_.failures) + 1);
    store_relaxed(lane_.failed_segment, file->number);  // relaxed: for the next publisher of the lane
  }
  // Behind that lock: whoever comes to the next segment later finds that this one failed, and marks it itself.
  mark_after_failure(file->number);
  if (current) appender_->leave();
  moved_.notify_all();
}

// With durability `os`: what was passed since the last flush, and let go of, and the names of all. One after the other:
// they may be more than a process may have open.
result<void> segment_keeper::write_back_passed(u64 from, u64 first_kept, u64 position) {
  if (!where_.synchronize()) return tl::unexpected(error(errc::system, "writing back " + where_.path(), 0, errno));
  // From the newest on: those before `from` may be many.
  u64 first = first_kept;
  for (; first > 1; --first) {
    const auto head = open_segment_head(where_, first - 1);
    if (!head && head.error() == errc::not_found) break;  // retention was there first
    if (!head) return tl::unexpected(head.error());
    segment_start start{};
    if ((*head)->read_start(start) && start.position + (*head)->geometry.data_bytes <= from) break;
  }
  for (u64 number = first; number < first_kept; ++number) {
    const auto file = open_segment(where_, number, access::read_write);
    if (!file && file.error() == errc::not_found) continue;
    if (!file) return tl::unexpected(file.error());
    segment_start start{};
    if ((*file)->read_start(start)) synchronize(*file, start.position, position);
  }
  return {};
}

bool segment_keeper::could_not(u64 end, error why) {
  {
    const std::lock_guard hold(mutex_);
    not_tried_ = {durable_, end};
    sync_failure_ = std::move(why);
    // What was asked for meanwhile is tried.
    if (requested_ <= end) requested_ = durable_;
  }
  moved_.notify_all();
  if (done_) done_();
  return true;
}

// The segment behind one that could not be written back.
void segment_keeper::mark_after_failure(u64 failed_number) {
  const auto mark = [](const segment_file& file) {
    // relaxed: it is written back with that segment, before anything in it is said to be durable
    store_relaxed(file.header().start.after_failure, segment_failure_mark);
  };
  {
    const std::lock_guard hold(mutex_);
    for (const kept_segment& kept : kept_) {
      if (kept.file->number == failed_number + 1) return mark(*kept.file);
    }
    if (kept_.back().file->number == failed_number) return;  // starts() does, when there is one
  }
  if (const auto next = open_segment(where_, failed_number + 1, access::read_write)) mark(**next);
}

void segment_keeper::show_durable(u64 position) noexcept { note_durable(lane_, position); }

void segment_keeper::populate_ahead(const segment_file& file, u64 offset) {
  const u64 base = file.number << 32;  // positions of another segment count from there
  const u64 wanted = std::min(offset + window_bytes, file.geometry.data_bytes);
  const u64 from = populated_ >= base ? std::max(populated_ - base, offset) : offset;
  if (wanted < from + window_step_bytes && wanted != file.geometry.data_bytes) return;
  if (wanted <= from) return;
  options_.calls.populate(file.memory, file.geometry.data_offset + from, file.geometry.data_offset + wanted);
  populated_ = base + wanted;
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
