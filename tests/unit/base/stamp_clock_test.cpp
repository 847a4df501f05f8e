#include "quoit/detail/stamp_clock.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.hpp"

using namespace quoit::detail;

TEST_CASE("a stamp lies between two readings of the kernel's clock, to a microsecond") {
  stamp_clock clock;
  // A stop between readings makes the interval longer, and the check weaker, never wrong.
  for (int i = 0; i < 200'000; ++i) {
    const u64 before = quoit::detail::realtime_ns();
    const u64 stamp = clock.now();
    const u64 after = quoit::detail::realtime_ns();
    REQUIRE(stamp + 1000 >= before);
    REQUIRE(stamp <= after + 1000);
  }
}
