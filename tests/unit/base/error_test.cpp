#include <doctest/doctest.h>

#include <quoit/error.hpp>

using quoit::errc;
using quoit::error;

TEST_CASE("every code has a name of its own") {
  for (unsigned code = 1; code <= static_cast<unsigned>(errc::truncated); ++code) {
    CHECK(quoit::name(static_cast<errc>(code)) != "unknown error");
    for (unsigned other = 1; other < code; ++other) {
      CHECK(quoit::name(static_cast<errc>(code)) != quoit::name(static_cast<errc>(other)));
    }
  }
}

TEST_CASE("an error without words says what its number means") {
  CHECK(error(errc::truncated, 512).message() ==
        "truncated: the file was made shorter; 512 bytes were copied, and the rest is gone");
}
