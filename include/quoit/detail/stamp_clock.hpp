// The time that messages on disk are stamped with: CLOCK_REALTIME, for about a third of what asking for it costs.
//
// The processor's counter says how long ago the kernel's clock was last asked, for up to a millisecond; then it is
// asked again. So an error of the rate, or a clock that is being slewed, cannot add up: it is less than a microsecond.
// Where the kernel itself does not trust the counter, the clock is asked each time.
#pragma once

#include "quoit/detail/atomic.hpp"
#include "quoit/detail/export.hpp"

namespace quoit::inline v1::detail {

// Thread safety: one thread at a time.
class QUOIT_EXPORT stamp_clock {
 public:
  // The first in a process compares counter and clock for two milliseconds.
  stamp_clock() noexcept;

  // CLOCK_REALTIME in ns. It can go back, as that clock can when it is set.
  u64 now() noexcept {
#if defined(__x86_64__)
    const u64 since = __builtin_ia32_rdtsc() - asked_ticks_;
    // A counter behind the one that was asked, on another core, is a very large number here.
    if (since < trusted_ticks_) [[likely]]
      return asked_ns_ + ((since * rate_) >> 32);
#endif
    return ask();
  }

  // False: the counter is not to be trusted, and each now() asks the kernel.
  bool counts() const noexcept { return trusted_ticks_ != 0; }

 private:
  u64 ask() noexcept;

  u64 asked_ns_ = 0;
  u64 asked_ticks_ = 0;
  u64 trusted_ticks_ = 0;
  u64 rate_ = 0;  // ns per tick, in 2^-32
};

}  // namespace quoit::inline v1::detail
