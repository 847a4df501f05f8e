#include "storage/retention.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <limits>

namespace quoit::inline v1::detail {

namespace {

constexpr std::int64_t no_time = std::numeric_limits<std::int64_t>::max();
// A step takes no longer than removing a segment does.
constexpr std::size_t sizes_in_a_step = 256;

std::int64_t ns_of(std::chrono::nanoseconds time) noexcept { return time.count(); }
// Of what files say, so that no sum of some of them wraps.
std::int64_t bounded(u64 time) noexcept { return static_cast<std::int64_t>(std::min(time, u64{1} << 61)); }
std::int64_t bounded(std::int64_t offset) noexcept {
  constexpr std::int64_t most = std::int64_t{1} << 61;
  return std::clamp(offset, -most, most);
}
std::int64_t later(std::int64_t time, u64 by) noexcept {
  return by < static_cast<u64>(no_time) && time < no_time - static_cast<std::int64_t>(by)
             ? time + static_cast<std::int64_t>(by)
             : no_time;
}

}  // namespace

segment_retention::segment_retention(const log_lane& lane, const retention_limits& limits, const clock_source& clocks)
    : lane_(lane), limits_(limits), clocks_(clocks), due_at_(any() ? 0 : no_time) {}

std::optional<std::chrono::nanoseconds> segment_retention::due_in() const noexcept {
  if (due_at_ == no_time) return std::nullopt;
  const std::chrono::nanoseconds left(due_at_ - bounded(clocks_.boottime()));
  return std::clamp<std::chrono::nanoseconds>(left, std::chrono::nanoseconds(0), std::chrono::hours(1));
}

bool segment_retention::step(const publisher_place& place) {
  const std::int64_t now = bounded(clocks_.boottime());
  const bool same_place = place.last == seen_last_ && place.first_kept == seen_first_kept_;
  if (!any() || (same_place && now < due_at_)) return false;
  if (look_at_more(place.last)) return true;
  seen_last_ = place.last;
  seen_first_kept_ = place.first_kept;
  due_at_ = no_time;
  if (there_.empty() || there_.front().number >= place.first_kept) return false;
  const bool too_many = limits_.bytes != 0 && bytes_ > limits_.bytes;
  const bool far_too_many = limits_.bytes_max != 0 && bytes_ > limits_.bytes_max;
  if (!too_many && !far_too_many && limits_.age_ns != 0) due_at_ = age_is_due_at(place.clock);
  if (!too_many && !far_too_many && now < due_at_) return false;
  due_at_ = 0;
  if (remove_oldest(far_too_many)) return true;
  due_at_ = later(now, static_cast<u64>(ns_of(between_attempts)));
  return false;
}

// What there is, and how large it is. False: all of it is known.
bool segment_retention::look_at_more(u64 last) {
  if (!listed_) {
    listed_ = true;
    listed_until_ = last;
    for (const u64 number : list_segments(lane_.where)) {
      if (number <= last) there_.push_back({number, 0});
    }
    return true;
  }
  while (listed_until_ < last) there_.push_back({++listed_until_, 0});
  if (limits_.bytes == 0 && limits_.bytes_max == 0) return false;
  const std::size_t end = std::min(sized_ + sizes_in_a_step, there_.size());
  for (; sized_ < end; ++sized_) bytes_ += there_[sized_].bytes = files_bytes(there_[sized_].number);
  return sized_ < there_.size();
}

// That the disk has for it. The blocks in which a file system notes where its blocks are do not count.
u64 segment_retention::files_bytes(u64 number) const noexcept {
  struct stat status{};
  if (!lane_.where.find(segment_name(number), status)) return 0;
  return std::min(static_cast<u64>(status.st_blocks) * 512, static_cast<u64>(status.st_size));
}

bool segment_retention::remove_oldest(bool also_if_read) {
  const entry oldest = there_.front();
  if (also_if_read) {
    // relaxed: a hint: who sees it asks whether the file is there
    store_relaxed(lane_.header().first_kept, oldest.number + 1);
  }
  const auto gone = remove_segment(lane_.where, oldest.number, lane_.header().lane_id,
                                   also_if_read ? segment_removal::also_if_read : segment_removal::unless_read);
  if (!gone) return false;
  if (sized_ > 0) {
    --sized_;
    bytes_ -= oldest.bytes;
  }
  there_.pop_front();
  return true;
}

// ---- age -----------------------------------------------------------------------------------------------

std::int64_t segment_retention::age_is_due_at(const segment_clock& now) {
  if (aged_ == there_.front().number && aged_clock_ == now.first) return age_due_at_;
  // Where the segment behind it begins, the last message was published.
  for (std::size_t i = 1; i < there_.size(); ++i) {
    const auto next = open_segment_head(lane_.where, there_[i].number);
    segment_start start{};
    if (!next || !(*next)->read_start(start)) continue;
    aged_ = there_.front().number;
    aged_clock_ = now.first;
    return age_due_at_ = later(published_at(**next, now), limits_.age_ns);
  }
  return no_time;
}

// When the last message before segment `next` was published, as CLOCK_BOOTTIME of this boot. Where that is not known,
// not before the present clock may be believed.
std::int64_t segment_retention::published_at(const segment_file& next, const segment_clock& now) const {
  segment_start start{};
  next.read_start(start);
  lane_clock clock = clock_of(next);
  u64 stamp = start.stamp;
  if (clock.known && clock.first == next.number) {
    const auto oldest = open_segment_head(lane_.where, there_.front().number);
    stamp = clock.before;
    clock = oldest ? clock_of(**oldest) : lane_clock{};
  }
  const u64 own_domain = clock_domain_of(now.zone);
  if (clock.known && clock.domain == own_domain) return bounded(stamp) - bounded(clock.offset);
  const std::int64_t offset = bounded(static_cast<std::int64_t>(now.offset));
  std::int64_t realtime = bounded(stamp);
  std::vector<u64> numbers;
  for (const entry& e : there_) numbers.push_back(e.number);
  for_each_clock(lane_.where, numbers, [&](const lane_clock& behind) {
    if (!behind.known || behind.first < next.number) return false;
    const std::int64_t to_present = behind.domain == own_domain ? offset - bounded(behind.offset) : std::int64_t{0};
    realtime = std::min(realtime, bounded(behind.since) + to_present);
    return true;
  });
  const std::int64_t believed_from = later(bounded(now.since) - offset, static_cast<u64>(ns_of(clock_believed_after)));
  // So that it is due then at the earliest.
  return std::max(realtime - offset, believed_from - bounded(limits_.age_ns));
}

}  // namespace quoit::inline v1::detail
