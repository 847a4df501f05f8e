#include <doctest/doctest.h>

#include <sstream>

#include "quoit/cursor.hpp"

using quoit::cursor;
using quoit::errc;

TEST_CASE("a cursor says the same after it was text") {
  cursor c;
  c.set({"gw2", 0x2c26b46b68ffc68f, 7});
  c.set({"gw1", 0xf, ~std::uint64_t{0}});
  c.set({"a.b-c_D", 0, 0});
  CHECK(c.to_string() == "a.b-c_D:0,gw1@000000000000000f:18446744073709551615,gw2@2c26b46b68ffc68f:7");
  CHECK(cursor::parse(c.to_string()).value() == c);
  CHECK(cursor::parse("").value() == cursor());
  // In whatever order a person writes it.
  CHECK(cursor::parse("b:1,a:2").value() == cursor::parse("a:2,b:1").value());
  std::ostringstream printed;
  printed << c;
  CHECK(printed.str() == c.to_string());
}

TEST_CASE("a publisher is in a cursor once") {
  cursor c;
  c.set({"a", 1, 5});
  c.set({"a", 1, 9});
  REQUIRE(c.places().size() == 1);
  CHECK(c.find("a")->sequence == 9);
  CHECK(c.find("b") == nullptr);
}

TEST_CASE("text that is no cursor is refused, and it is said where") {
  for (const char* const text :
       {"a", "a:", ":1", "a:-1", "a:1x", "a:1,", ",a:1", "a:1,,b:2", "a:1,a:2", ".a:1", "a/b:1", "a@:1", "a@12:1",
        "a@000000000000000g:1", "a@0000000000000001", "a:18446744073709551616", "a: 1", "a@-00000000000000f:1"}) {
    INFO(text);
    const auto read = cursor::parse(text);
    REQUIRE(!read.has_value());
    CHECK(read.error() == errc::invalid_argument);
    CHECK(read.error().words().find("at byte") != std::string_view::npos);
  }
}
