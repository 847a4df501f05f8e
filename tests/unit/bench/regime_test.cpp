#include "regime.hpp"

#include <doctest/doctest.h>

#include <string_view>

using bench::moved;
using bench::regime;
using bench::regime_of;

TEST_CASE("the floor line tells threads of a core from near and from far cores") {
  CHECK(regime_of(20) == regime::smt);
  CHECK(regime_of(74.9) == regime::smt);
  CHECK(regime_of(75) == regime::near);
  CHECK(regime_of(105) == regime::near);
  CHECK(regime_of(200) == regime::near);
  CHECK(regime_of(200.1) == regime::far);
  CHECK(regime_of(490) == regime::far);
}

TEST_CASE("a floor may move by 15 % of itself, in both directions") {
  CHECK_FALSE(moved(100, 100));
  CHECK_FALSE(moved(100, 115));
  CHECK_FALSE(moved(115, 100));
  CHECK(moved(100, 116));
  CHECK(moved(116, 100));
  CHECK(moved(105, 490));
}

TEST_CASE("a floor that was not measured has not moved") { CHECK_FALSE(moved(0, 0)); }

TEST_CASE("regimes have the names that the rows carry") {
  CHECK(name_of(regime::smt) == std::string_view("smt"));
  CHECK(name_of(regime::near) == std::string_view("near"));
  CHECK(name_of(regime::far) == std::string_view("far"));
  CHECK(name_of(regime::unstable) == std::string_view("unstable"));
}

TEST_CASE("sides that sleep in half of their turns have slept, also one time more or less") {
  CHECK(bench::slept(1'000, 1'000, 1'000));
  CHECK(bench::slept(500, 500, 1'000));
  CHECK(bench::slept(4'000, 1'001, 1'000));
}

TEST_CASE("a floor of which one side mostly found that it need not wait has not slept") {
  CHECK_FALSE(bench::slept(0, 0, 1'000));
  CHECK_FALSE(bench::slept(1'000, 499, 1'000));
  CHECK_FALSE(bench::slept(499, 1'000, 1'000));
  // A few turns at the beginning, as when the state changes in the middle.
  CHECK_FALSE(bench::slept(30, 31, 4'000));
}

TEST_CASE("each reason to doubt a row has its own words, and none has none") {
  CHECK(bench::words_of(bench::doubt::none) == std::string_view());
  CHECK(bench::words_of(bench::doubt::floor_moved) == std::string_view("the floor moved"));
  CHECK(bench::words_of(bench::doubt::cores_moved) == std::string_view("the cores moved apart or together"));
  CHECK(bench::words_of(bench::doubt::floor_awake) == std::string_view("the floor's sides did not sleep"));
  CHECK(bench::words_of(bench::doubt::row_awake) == std::string_view("its sides did not sleep"));
  CHECK(bench::words_of(bench::doubt::crowded) == std::string_view("other programs had its CPUs"));
}
