// The time that messages on disk are stamped with: CLOCK_REALTIME, for about a third of what asking for it costs.
//
// The processor's counter says how long ago the kernel's clock was last asked, for up to a millisecond; then it is
// asked again. So an error of the rate, or a clock that is being slewed, cannot add up: it is less than a microsecond.
// Where the kernel itself does not trust the counter, the clock is asked each time.
//
// CLOCK_REALTIME can be set. CLOCK_BOOTTIME cannot, and is slewed as CLOCK_REALTIME is, so the difference of the two
// changes only when somebody sets the clock. Each time that the kernel is asked, that difference is held against the
// one with which this clock runs; where it is another one by clock_step_ns or more, the clock *was set*. Then now()
// answers 0 until follow() is called, and still_now() the time of the clock as if it had not been set: who stamps
// decides from which message on the new time counts.
#pragma once

#include <cstdint>

#include "quoit/detail/atomic.hpp"
#include "quoit/detail/export.hpp"

namespace quoit::inline v1::detail {

// A smaller step is followed as slewing is: ntpd sets the clock from 128 ms on, systemd-timesyncd from 400 ms, chrony
// from a second, and slew what is less.
inline constexpr u64 clock_step_ns = 100'000'000;

// Where the time comes from; tests put their own in its place. Nanoseconds since 1970, and since the machine started.
struct clock_source {
  u64 (*realtime)() noexcept;
  u64 (*boottime)() noexcept;

  QUOIT_EXPORT static const clock_source& of_system() noexcept;
};

// Thread safety: one thread at a time.
class QUOIT_EXPORT stamp_clock {
 public:
  // The first in a process compares counter and clock for two milliseconds.
  explicit stamp_clock(const clock_source& source = clock_source::of_system()) noexcept;

  // CLOCK_REALTIME in ns. It may go back by less than clock_step_ns. 0: the clock was set.
  u64 now() noexcept {
#if defined(__x86_64__)
    const u64 since = __builtin_ia32_rdtsc() - asked_ticks_;
    // A counter behind the one that was asked, on another core, is a very large number here.
    if (since < trusted_ticks_) [[likely]]
      return asked_ns_ + ((since * rate_) >> 32);
#endif
    return ask();
  }

  // The clock was set, and nobody has followed it yet: as far as now() found out.
  bool was_set() const noexcept { return was_set_; }
  // The time of a clock that runs with this offset, asked of the kernel.
  u64 at_offset(std::int64_t offset_ns) const noexcept { return source_.boottime() + static_cast<u64>(offset_ns); }
  u64 still_now() const noexcept { return at_offset(offset_); }
  // From now on the new time counts.
  void follow() noexcept;
  // Goes on with the clock of another one, which ran with this offset.
  void go_on_with(std::int64_t offset_ns) noexcept { offset_ = offset_ns; }

  // CLOCK_REALTIME minus CLOCK_BOOTTIME in ns: of the clock that is followed, and of the new one, once it was set.
  std::int64_t offset() const noexcept { return offset_; }
  std::int64_t set_offset() const noexcept { return set_offset_; }

  // False: the counter is not to be trusted, and each now() asks the kernel.
  bool counts() const noexcept { return trusted_ticks_ != 0; }

 private:
  u64 ask() noexcept;

  u64 asked_ns_ = 0;
  u64 asked_ticks_ = 0;
  u64 trusted_ticks_ = 0;
  u64 rate_ = 0;  // ns per tick, in 2^-32

  clock_source source_;
  std::int64_t offset_ = 0;
  std::int64_t set_offset_ = 0;
  bool was_set_ = false;
};

// The difference as of now, for who needs nothing else.
QUOIT_EXPORT std::int64_t clock_offset_now(const clock_source& source) noexcept;

}  // namespace quoit::inline v1::detail
