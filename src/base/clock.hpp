#pragma once

#include <time.h>

#include <cstdint>

namespace quoit::inline v1::detail {

// CLOCK_REALTIME in ns: the time that messages are stamped with.
inline std::uint64_t realtime_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace quoit::inline v1::detail
