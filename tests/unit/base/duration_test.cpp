#include "quoit/duration.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "base/deadline.hpp"

using namespace std::chrono_literals;
using quoit::duration;

namespace {

template <class Rep, class Period>
constexpr std::int64_t ns_of(std::chrono::duration<Rep, Period> d) {
  return duration(d).count();
}

}  // namespace

TEST_CASE("a duration that nanoseconds cannot say is the longest there is") {
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  CHECK(ns_of(std::chrono::hours::max()) == most);
  CHECK(ns_of(std::chrono::years::max()) == most);
  CHECK(ns_of(std::chrono::nanoseconds::max()) == most);
  CHECK(ns_of(std::chrono::nanoseconds::max() - 1ns) == most - 1);
  CHECK(ns_of(std::chrono::hours::min()) == -most);
  CHECK(ns_of(std::chrono::hours(2'562'047)) == std::int64_t{2'562'047} * 3'600'000'000'000);
  CHECK(ns_of(std::chrono::hours(2'562'048)) == most);
  CHECK(ns_of(std::chrono::duration<double>(1e300)) == most);
  CHECK(ns_of(std::chrono::duration<double>(-1e300)) == -most);
  CHECK(ns_of(std::chrono::duration<double>(std::numeric_limits<double>::infinity())) == most);
  CHECK(ns_of(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())) == 0);
  CHECK(ns_of(std::chrono::duration<std::uint64_t, std::exa>(~std::uint64_t{0})) == most);
  CHECK(duration(std::chrono::hours::max()) == duration::max());
}

TEST_CASE("what nanoseconds can say is said exactly, and parts of one count as a whole one") {
  CHECK(ns_of(5ms) == 5'000'000);
  CHECK(ns_of(-5ms) == -5'000'000);
  CHECK(ns_of(0s) == 0);
  CHECK(ns_of(std::chrono::duration<std::int64_t, std::pico>(1)) == 1);
  CHECK(ns_of(std::chrono::duration<std::int64_t, std::pico>(1000)) == 1);
  CHECK(ns_of(std::chrono::duration<double>(0.25)) == 250'000'000);
  CHECK(ns_of(std::chrono::duration<float, std::nano>(0.5f)) == 1);
  static_assert(duration(1s) < 2s && duration(1s) == 1000ms);
  static_assert(std::is_trivially_copyable_v<duration>);
  const std::chrono::nanoseconds back = duration(3us);
  CHECK(back == 3us);
}

TEST_CASE("a deadline is at the end of the clock at the latest, and not before now") {
  using quoit::detail::deadline;
  for (const auto timeout : {std::chrono::nanoseconds::max(), std::chrono::nanoseconds(std::chrono::hours(24 * 366))}) {
    const deadline end(timeout);
    CHECK_FALSE(end.over());
    CHECK(end.left() > std::chrono::hours(24 * 365));
  }
  for (const auto timeout : {0ns, -1ns, std::chrono::nanoseconds::min()}) {
    const deadline end(timeout);
    CHECK(end.over());
    CHECK(end.left() == 0ns);
  }
}
