#include "floors/cpus.hpp"

#include <doctest/doctest.h>

TEST_CASE("two CPUs that are allowed are read") {
  floors::cpu_pair cpus{};
  CHECK(floors::parse_cpus("3,1", {1, 2, 3}, cpus));
  CHECK(cpus.asks == 3);
  CHECK(cpus.answers == 1);
  CHECK(floors::parse_cpus("2,2", {1, 2, 3}, cpus));
}

TEST_CASE("anything else is refused, and changes nothing") {
  floors::cpu_pair cpus{7, 8};
  for (const char* text : {"", "1", "1,", "1,2,3", "1,2x", "a,b", "0,1", "1,4", "-1,2"}) {
    CHECK_FALSE(floors::parse_cpus(text, {1, 2, 3}, cpus));
  }
  CHECK(cpus.asks == 7);
  CHECK(cpus.answers == 8);
}

TEST_CASE("this process may run somewhere, and the default is there") {
  const auto allowed = floors::allowed_cpus();
  REQUIRE_FALSE(allowed.empty());
  const floors::cpu_pair cpus = floors::default_cpus(allowed);
  CHECK((cpus.asks != cpus.answers) == (allowed.size() > 1));
}
