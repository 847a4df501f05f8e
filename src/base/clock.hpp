#pragma once

#include <time.h>

#include <cstdint>

namespace quoit::inline v1::detail {

inline std::uint64_t clock_ns(clockid_t clock) noexcept {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

// CLOCK_REALTIME in ns: the time that messages are stamped with.
inline std::uint64_t realtime_ns() noexcept { return clock_ns(CLOCK_REALTIME); }

// CLOCK_BOOTTIME in ns: goes on while the machine is suspended, and nobody sets it.
inline std::uint64_t boottime_ns() noexcept { return clock_ns(CLOCK_BOOTTIME); }

}  // namespace quoit::inline v1::detail
