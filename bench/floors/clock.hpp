// The clock of the floors and of the rows. A round trip between two cores takes little more than reading a clock does,
// so it is the cheapest that there is, and the same for both: what it costs is in both sides of a ratio.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace floors {

inline std::uint64_t monotonic_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

// On x86-64 the time-stamp counter: 10 ns where clock_gettime takes 22.
inline std::uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return monotonic_ns();
#endif
}

// Compared with CLOCK_MONOTONIC for a fiftieth of a second, once; a process does this before it forks.
inline double ns_per_tick() {
#if defined(__x86_64__)
  static const double value = [] {
    const std::uint64_t begin_ticks = ticks(), begin_ns = monotonic_ns();
    std::uint64_t end_ns = begin_ns;
    while (end_ns - begin_ns < 20'000'000) end_ns = monotonic_ns();
    return static_cast<double>(end_ns - begin_ns) / static_cast<double>(ticks() - begin_ticks);
  }();
  return value;
#else
  return 1.0;
#endif
}

// By how much the clock advances when it does: some count in steps of ten nanoseconds.
inline double step_ticks() {
  static const double value = [] {
    std::vector<std::uint64_t> steps(10'001);
    for (std::uint64_t& step : steps) {
      const std::uint64_t begin = ticks();
      do {
        step = ticks() - begin;
      } while (step == 0);
    }
    std::nth_element(steps.begin(), steps.begin() + 5'000, steps.end());
    return static_cast<double>(steps[5'000]);
  }();
  return value;
}

}  // namespace floors
