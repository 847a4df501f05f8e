// What is published comes to the disk: the part of the keeper that writes back, and says what is durable.
#include <cerrno>
#include <chrono>
#include <utility>

#include "storage/log_lane.hpp"
#include "storage/segment_keeper.hpp"

namespace quoit::inline v1::detail {

namespace {

using std::chrono::steady_clock;

constexpr u64 window_step_bytes = u64{256} << 10;

}  // namespace

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

}  // namespace quoit::inline v1::detail
