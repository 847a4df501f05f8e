// A clock that a test sets: of CLOCK_BOOTTIME, which it moves on, and of CLOCK_REALTIME, which it sets as a person or a
// program that keeps the time does.
#pragma once

#include <atomic>
#include <cstdint>

#include "quoit/detail/stamp_clock.hpp"

namespace quoit::test {

using namespace quoit::detail;

inline constexpr std::uint64_t ns_per_ms = 1'000'000;
inline constexpr std::uint64_t ns_per_s = 1'000'000'000;
inline constexpr std::uint64_t ns_per_hour = 3600 * ns_per_s;

inline std::atomic<std::uint64_t> fake_boottime = 0;
inline std::atomic<std::uint64_t> fake_offset = 0;

struct fake_clock {
  static constexpr std::uint64_t begin = 1'800'000'000 * ns_per_s;  // in 2027

  fake_clock() {
    fake_boottime = 1000 * ns_per_s;
    set(begin);
  }
  fake_clock(const fake_clock&) = delete;
  fake_clock& operator=(const fake_clock&) = delete;

  static std::uint64_t boottime() noexcept { return fake_boottime; }
  static std::uint64_t now() noexcept { return fake_boottime + fake_offset; }
  static void set(std::uint64_t realtime) { fake_offset = realtime - fake_boottime; }
  static void step(std::int64_t ns) { fake_offset += static_cast<std::uint64_t>(ns); }
  static void pass(std::uint64_t ns) { fake_boottime += ns; }
  static clock_source source() noexcept { return {now, boottime}; }
};

}  // namespace quoit::test
