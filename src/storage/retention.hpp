// Which segments of a lane are removed, and when: the oldest first, one at a time.
//
// A limit by bytes counts the segments that the publisher has come to, with the one that it is in. A limit by age
// counts from when the last message of a segment was published:
//
// - What was published since the machine started is aged by CLOCK_BOOTTIME (lane_clock.hpp), whatever CLOCK_REALTIME
//   was set to meanwhile.
// - What is older is aged by CLOCK_REALTIME, and counts as published when the next clock of the lane began, if its own
//   stamps are later: a stamp of 2099 does not keep it for ever. But a clock that is ahead by mistake would make
//   everything old at once, so the present one is believed after it has gone on for `clock_believed_after`.
//
// A segment that a reader is in stays, and those behind it, unless the lane has more than `bytes_max`. Then it is
// removed all the same (S11): the reader keeps the file, whose name is gone, until it finds out and goes on behind it.
#pragma once

#include <chrono>
#include <deque>
#include <optional>

#include "storage/lane_clock.hpp"
#include "storage/log_lane.hpp"

namespace quoit::inline v1::detail {

struct retention_limits {
  u64 bytes = 0;  // 0, here and below: no such limit
  u64 bytes_max = 0;
  u64 age_ns = 0;
};

// Thread safety: one thread.
class segment_retention {
 public:
  static constexpr std::chrono::minutes clock_believed_after{10};
  static constexpr std::chrono::seconds between_attempts{1};  // at a segment that a reader is in, or that stays

  // `lane` outlives this.
  segment_retention(const log_lane& lane, const retention_limits& limits, const clock_source& clocks);

  // Where the publisher is.
  struct publisher_place {
    u64 first_kept;  // segments from here on are in use
    u64 last;        // the one that is written
    segment_clock clock;
  };
  // Does a little of what is due: looks at some segments, or removes one. False: nothing is, until due_in() is over or
  // the publisher has come to another segment.
  bool step(const publisher_place& place);
  // At most an hour. Nothing: until then.
  std::optional<std::chrono::nanoseconds> due_in() const noexcept;

 private:
  struct entry {
    u64 number;
    u64 bytes;
  };

  bool any() const noexcept { return limits_.bytes != 0 || limits_.bytes_max != 0 || limits_.age_ns != 0; }
  bool look_at_more(u64 last);
  bool remove_oldest(bool also_if_read);
  std::int64_t age_is_due_at(const segment_clock& now);
  std::int64_t published_at(const segment_file& next, const segment_clock& now) const;
  u64 files_bytes(u64 number) const noexcept;

  const log_lane& lane_;
  const retention_limits limits_;
  const clock_source clocks_;
  bool listed_ = false;
  u64 listed_until_ = 0;
  std::deque<entry> there_;  // the oldest first; the first `sized_` of them are counted in `bytes_`
  std::size_t sized_ = 0;
  u64 bytes_ = 0;
  u64 seen_last_ = 0;
  u64 seen_first_kept_ = 0;
  // CLOCK_BOOTTIME at which something is due next.
  std::int64_t due_at_;
  std::int64_t age_due_at_ = 0;  // of `aged_`, on the clock that began with `aged_clock_`
  u64 aged_ = 0;
  u64 aged_clock_ = 0;
};

}  // namespace quoit::inline v1::detail
