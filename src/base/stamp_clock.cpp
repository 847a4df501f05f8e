#include "quoit/detail/stamp_clock.hpp"

#include <fcntl.h>
#include <time.h>

#include <string_view>

#include "base/clock.hpp"
#include "base/computed_once.hpp"
#include "base/fd.hpp"

namespace quoit::inline v1::detail {

namespace {

// Both kernel clocks at the same moment, as nearly as a few attempts get it: between two calls the thread may be
// interrupted. The boot's clock was asked before and behind the other.
struct clock_moment {
  u64 realtime = 0;
  u64 boottime_before = 0;
  u64 boottime_after = 0;
  u64 ticks = 0;

  u64 width() const noexcept { return boottime_after - boottime_before; }
  std::int64_t offset() const noexcept { return static_cast<std::int64_t>(realtime - (boottime_before + width() / 2)); }
  // Whether a clock that runs with this offset can have said so.
  bool agrees_with(std::int64_t offset) const noexcept {
    const u64 as_boottime = realtime - static_cast<u64>(offset);
    const auto too_early = static_cast<std::int64_t>(boottime_before - as_boottime);
    const auto too_late = static_cast<std::int64_t>(as_boottime - boottime_after);
    constexpr auto step = static_cast<std::int64_t>(clock_step_ns);
    return too_early < step && too_late < step;
  }
};

// For so long a clock is believed to go on as it did.
constexpr u64 trusted_ns = 1'000'000;
clock_moment look_at(const clock_source& source, u64 close_enough_ns, int attempts_max) noexcept {
  clock_moment best;
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    clock_moment now;
    now.boottime_before = source.boottime();
#if defined(__x86_64__)
    const u64 ticks_before = __builtin_ia32_rdtsc();
    now.realtime = source.realtime();
    now.ticks = ticks_before + (__builtin_ia32_rdtsc() - ticks_before) / 2;
#else
    now.realtime = source.realtime();
#endif
    now.boottime_after = source.boottime();
    if (attempt == 0 || now.width() < best.width()) best = now;
    if (best.width() < close_enough_ns) break;
  }
  return best;
}

clock_moment look_at(const clock_source& source) noexcept { return look_at(source, 400, 5); }
// Of an offset that others will compare with theirs: on a busy machine the thread may be interrupted many times.
std::int64_t offset_of(const clock_source& source) noexcept { return look_at(source, 5'000, 100).offset(); }

#if defined(__x86_64__)

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

const clock_source& clock_source::of_system() noexcept {
  static constexpr clock_source source{realtime_ns, boottime_ns};
  return source;
}

std::int64_t clock_offset_now(const clock_source& source) noexcept { return offset_of(source); }

stamp_clock::stamp_clock(const clock_source& source) noexcept : source_(source) {
#if defined(__x86_64__)
  if (source.realtime == clock_source::of_system().realtime) {
    static constinit computed_once<counter_rate> once;
    const counter_rate measured = once.get(measure);
    rate_ = measured.rate;
    trusted_ticks_ = measured.trusted_ticks;
  }
#endif
  offset_ = set_offset_ = clock_offset_now(source_);
}

u64 stamp_clock::ask() noexcept {
  if (!counts()) {
    // Asked for each stamp: it is the other clock that is asked once in a millisecond.
    const u64 realtime = source_.realtime();
    if (realtime - asked_ns_ < trusted_ns && !was_set_) return realtime;
  }
  const clock_moment now = look_at(source_);
  // A process that is shown another time altogether (libfaketime) has both clocks set at once.
  const bool went_back = now.realtime + clock_step_ns <= asked_ns_;
  if (went_back || !now.agrees_with(offset_)) {
    was_set_ = true;
    set_offset_ = offset_of(source_);
    return 0;
  }
  // It was set back to where it was.
  was_set_ = false;
  asked_ns_ = now.realtime;
#if defined(__x86_64__)
  asked_ticks_ = now.ticks;
#endif
  return now.realtime;
}

void stamp_clock::follow() noexcept {
  offset_ = set_offset_;
  asked_ns_ = 0;
  was_set_ = false;
}

}  // namespace quoit::inline v1::detail
