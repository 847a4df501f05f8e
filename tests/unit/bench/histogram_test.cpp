#include "floors/histogram.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

using floors::histogram;

namespace {

bool within(double value, double expected, double share) { return std::fabs(value - expected) <= share * expected; }

}  // namespace

TEST_CASE("an empty histogram answers 0") {
  const histogram h;
  CHECK(h.total() == 0);
  CHECK(h.max() == 0);
  CHECK(h.at(0.5) == 0);
  CHECK(h.median(26) == 0);
}

TEST_CASE("one value is every percentile of itself") {
  for (const std::uint64_t value : {0ull, 1ull, 127ull, 128ull, 255ull}) {
    histogram h;
    h.record(value);
    CHECK(h.at(0) == value);
    CHECK(h.at(0.5) == value);
    CHECK(h.at(1) == value);
  }
}

TEST_CASE("any value is off by less than 1 %") {
  for (std::uint64_t value = 1; value < (std::uint64_t{1} << 62); value += value / 3 + 1) {
    histogram h;
    h.record(value);
    // Another one, so that the answer is not cut to the maximum.
    h.record(std::numeric_limits<std::uint64_t>::max());
    CHECK(within(static_cast<double>(h.at(0.5)), static_cast<double>(value), 0.01));
  }
}

TEST_CASE("the largest value is exact, and the largest number has a bucket") {
  histogram h;
  h.record(1'234'567'891);
  CHECK(h.max() == 1'234'567'891);
  CHECK(h.at(1) <= h.max());
  h.record(std::numeric_limits<std::uint64_t>::max());
  CHECK(h.max() == std::numeric_limits<std::uint64_t>::max());
}

TEST_CASE("percentiles are those of the sorted values") {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> times(6, 1.5);
  histogram h;
  std::vector<std::uint64_t> values(100'000);
  for (std::uint64_t& value : values) h.record(value = static_cast<std::uint64_t>(times(random)));
  std::sort(values.begin(), values.end());
  CHECK(h.total() == values.size());
  for (const double share : {0.01, 0.5, 0.9, 0.99, 0.999, 0.9999}) {
    const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size())) - 1;
    CHECK(within(static_cast<double>(h.at(share)), static_cast<double>(values[rank]), 0.01));
  }
}

TEST_CASE("the sum of two histograms is the histogram of both") {
  histogram even, odd, all;
  for (std::uint64_t value = 0; value < 10'000; ++value) {
    (value % 2 == 0 ? even : odd).record(value * value);
    all.record(value * value);
  }
  even.add(odd);
  CHECK(even.total() == all.total());
  CHECK(even.max() == all.max());
  for (const double share : {0.1, 0.5, 0.99}) CHECK(even.at(share) == all.at(share));
}

TEST_CASE("the median sees between the steps of a coarse clock") {
  // Times around 96, seen by a clock that counts in tens.
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> when(0, 1'000'000);
  histogram h;
  for (int i = 0; i < 100'000; ++i) {
    const double begin = when(random);
    const double end = begin + 96;
    h.record(static_cast<std::uint64_t>(std::floor(end / 10) * 10 - std::floor(begin / 10) * 10));
  }
  CHECK((h.at(0.5) == 90 || h.at(0.5) == 100));
  CHECK(std::fabs(h.median(10) - 96) < 1);
}

TEST_CASE("the median of a fine clock is the middle value") {
  histogram h;
  for (std::uint64_t value = 1; value <= 201; ++value) h.record(value);
  CHECK(std::fabs(h.median(1) - 101) <= 1);
  CHECK(std::fabs(h.median(0) - 101) <= 1);
}
