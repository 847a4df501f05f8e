#include "storage/lane_clock.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "base/boot_id.hpp"

namespace quoit::inline v1::detail {

namespace {

// The time namespace of a process that is in none of its own (PROC_TIME_INIT_INO).
constexpr u64 initial_namespace = 0xeffffffa;

// A boot's id is random.
u64 domain_of(const void* boot_id, u64 zone) noexcept {
  u64 words[2];
  std::memcpy(words, boot_id, sizeof words);
  return words[0] ^ words[1] ^ zone * 0x9e3779b97f4a7c15;
}

}  // namespace

u64 own_clock_zone() noexcept {
  struct stat status{};
  const bool known = ::stat("/proc/self/ns/time", &status) == 0;
  return known && status.st_ino != initial_namespace ? status.st_ino : 0;
}

u64 clock_domain_of(u64 zone) noexcept { return domain_of(boot_id().data(), zone); }

lane_clock clock_of(const segment_file& segment) noexcept {
  segment_clock record{};
  lane_clock clock;
  clock.known = segment.read_clock(record);
  clock.domain = domain_of(segment.header().prefix.boot_id, clock.known ? record.zone : 0);
  if (!clock.known) return clock;
  clock.offset = static_cast<std::int64_t>(record.offset);
  clock.first = record.first;
  clock.since = record.since;
  clock.before = record.before;
  return clock;
}

void for_each_clock(const directory_handle& where, const std::vector<u64>& numbers,
                    const std::function<bool(const lane_clock&)>& each) {
  for (std::size_t end = numbers.size(); end > 0;) {
    const auto segment = open_segment_head(where, numbers[--end]);
    segment_start start{};
    // Removed, damaged or made ahead: the one before is of the same clock, or of the one before it.
    if (!segment || !(*segment)->read_start(start)) continue;
    const lane_clock clock = clock_of(**segment);
    if (!each(clock) || !clock.known) return;
    const auto here = numbers.begin() + static_cast<std::ptrdiff_t>(end);
    end = static_cast<std::size_t>(std::lower_bound(numbers.begin(), here, clock.first) - numbers.begin());
  }
}

}  // namespace quoit::inline v1::detail
