#include "quoit/detail/stamp_clock.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.hpp"
#include "support/fake_clock.hpp"

using namespace quoit::detail;
using namespace quoit::test;

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

TEST_CASE("a clock that is set says so until it is followed, and goes on meanwhile as it did") {
  for (const std::int64_t step : {std::int64_t{100'000'000}, std::int64_t{-100'000'000}, std::int64_t{1} << 60,
                                  -static_cast<std::int64_t>(fake_clock::begin)}) {
    const fake_clock fake;
    stamp_clock clock(fake_clock::source());
    CHECK(clock.now() == fake_clock::now());
    fake_clock::pass(ns_per_s);
    CHECK(clock.now() == fake_clock::now());
    const u64 before = fake_clock::now();
    fake_clock::step(step);
    fake_clock::pass(5);
    CHECK(clock.now() == 0);
    CHECK(clock.was_set());
    CHECK(clock.still_now() == before + 5);
    CHECK(clock.now() == 0);
    clock.follow();
    CHECK(!clock.was_set());
    CHECK(clock.now() == fake_clock::now());
    CHECK(clock.at_offset(clock.offset() - step) == before + 5);
  }
}

TEST_CASE("a clock that is set back to where it was before that was followed was not set") {
  const fake_clock fake;
  stamp_clock clock(fake_clock::source());
  fake_clock::step(-static_cast<std::int64_t>(ns_per_hour));
  CHECK(clock.now() == 0);
  fake_clock::step(static_cast<std::int64_t>(ns_per_hour));
  CHECK(clock.now() == fake_clock::now());
  CHECK(!clock.was_set());
}

TEST_CASE("slewing, suspending and a step that is small are no setting") {
  const fake_clock fake;
  stamp_clock clock(fake_clock::source());
  for (int i = 0; i < 100; ++i) {
    fake_clock::pass(ns_per_hour);
    CHECK(clock.now() == fake_clock::now());
  }
  fake_clock::step(99'999'999);
  fake_clock::pass(ns_per_ms);
  CHECK(clock.now() == fake_clock::now());
  fake_clock::step(-99'999'999);
  fake_clock::pass(ns_per_ms);
  CHECK(clock.now() == fake_clock::now());
}

TEST_CASE("both clocks that go back together, as in a process that is shown another time, are a setting") {
  const fake_clock fake;
  stamp_clock clock(fake_clock::source());
  fake_clock::pass(2 * ns_per_hour);
  CHECK(clock.now() == fake_clock::now());
  fake_boottime = fake_boottime - ns_per_hour;
  CHECK(clock.now() == 0);
  clock.follow();
  CHECK(clock.now() == fake_clock::now());
}
