// The clocks that stamped a lane.
//
// CLOCK_REALTIME can be set. Its difference to CLOCK_BOOTTIME, the offset, changes only then: slewing and suspending
// change both alike. A clock of a lane is a run of segments that were stamped with one offset; each of them has its
// record (segment_clock). In a clock stamps never go back. Between two of them they may, so what compares times of
// several clocks converts them here.
#pragma once

#include <functional>
#include <vector>

#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

struct lane_clock {
  u64 domain = 0;           // whose CLOCK_BOOTTIME: of a boot, and a time namespace in it
  bool known = false;       // false: its record was damaged, and of what follows nothing is known
  std::int64_t offset = 0;  // CLOCK_REALTIME minus CLOCK_BOOTTIME, in ns
  u64 first = 0;            // number of the first segment
  u64 since = 0;            // CLOCK_REALTIME when it began: no stamp is lower, and what is before was published before
  u64 before = 0;           // the last stamp of the clock before
  friend bool operator==(const lane_clock&, const lane_clock&) = default;
};

// Whether stamps of the two can be compared as they are.
inline bool is_same_time(const lane_clock& a, const lane_clock& b) noexcept {
  return a.domain == b.domain && a.known == b.known && a.offset == b.offset;
}

// Of this process: inode of its time namespace, 0 where that is the one in which the machine started.
u64 own_clock_zone() noexcept;
// Of this boot.
u64 clock_domain_of(u64 zone) noexcept;

// The clock of a segment that its writer has come to.
lane_clock clock_of(const segment_file& segment) noexcept;

// Calls each(clock) for the clocks of a lane, the newest first, until it answers false; the last one is one that is not
// known, if there is such a one. `numbers` are those of its segments, sorted. Opens about one segment for each clock.
void for_each_clock(const directory_handle& where, const std::vector<u64>& numbers,
                    const std::function<bool(const lane_clock&)>& each);

}  // namespace quoit::inline v1::detail
