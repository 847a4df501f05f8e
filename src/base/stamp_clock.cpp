#include "quoit/detail/stamp_clock.hpp"

#include <fcntl.h>
#include <time.h>

#include <string_view>

#include "base/clock.hpp"
#include "base/computed_once.hpp"
#include "base/fd.hpp"

namespace quoit::inline v1::detail {

namespace {

#if defined(__x86_64__)

constexpr u64 trusted_ns = 1'000'000;
constexpr u64 compared_ns = 2'000'000;

struct moment {
  u64 ticks;
  u64 ns;
};

// Both clocks at the same moment, as nearly as a few attempts get it: between two readings of the counter there may be
// an interrupt.
moment both(clockid_t clock) noexcept {
  moment best{};
  u64 shortest = ~u64{0};
  for (int attempt = 0; attempt < 4; ++attempt) {
    timespec now{};
    const u64 before = __builtin_ia32_rdtsc();
    ::clock_gettime(clock, &now);
    const u64 after = __builtin_ia32_rdtsc();
    if (after - before >= shortest) continue;
    shortest = after - before;
    best = {before + (after - before) / 2,
            static_cast<u64>(now.tv_sec) * 1'000'000'000u + static_cast<u64>(now.tv_nsec)};
    if (attempt == 0 && shortest < 500) break;
  }
  return best;
}

// The kernel watches the counter, and takes another clock when it stops, or differs between cores.
bool kernel_trusts_counter() noexcept {
  const fd file = open_file("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY);
  char text[64];
  const ssize_t got = file ? ::read(file.get(), text, sizeof text) : 0;
  const std::string_view name(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  return name.starts_with("tsc") || name.starts_with("kvm-clock") || name.starts_with("hyperv_clocksource_tsc");
}

struct counter_rate {
  u64 rate;  // 0: not to be trusted
  u64 trusted_ticks;
};

counter_rate measure() noexcept {
  if (!kernel_trusts_counter()) return {0, 0};
  const moment begin = both(CLOCK_MONOTONIC);
  moment end = begin;
  while (end.ns - begin.ns < compared_ns) end = both(CLOCK_MONOTONIC);
  if (end.ticks <= begin.ticks) return {0, 0};
  const double ns = static_cast<double>(end.ns - begin.ns) / static_cast<double>(end.ticks - begin.ticks);
  // Slower than 10 MHz has no resolution, faster than 100 GHz is no counter.
  if (ns > 100 || ns < 0.01) return {0, 0};
  return {static_cast<u64>(ns * 4294967296.0), static_cast<u64>(static_cast<double>(trusted_ns) / ns)};
}

#endif

}  // namespace

stamp_clock::stamp_clock() noexcept {
#if defined(__x86_64__)
  static constinit computed_once<counter_rate> once;
  const counter_rate measured = once.get(measure);
  rate_ = measured.rate;
  trusted_ticks_ = measured.trusted_ticks;
#endif
}

u64 stamp_clock::ask() noexcept {
#if defined(__x86_64__)
  if (counts()) {
    const moment now = both(CLOCK_REALTIME);
    asked_ns_ = now.ns;
    asked_ticks_ = now.ticks;
    return now.ns;
  }
#endif
  return realtime_ns();
}

}  // namespace quoit::inline v1::detail
