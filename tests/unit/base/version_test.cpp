#include <doctest/doctest.h>

#include <quoit/detail/config.hpp>

TEST_CASE("the linked library has the version of the headers") { CHECK(quoit::library_version() == QUOIT_VERSION); }
