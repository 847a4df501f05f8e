#include "base/type_difference.hpp"

#include <doctest/doctest.h>

using quoit::detail::described_type;
using quoit::detail::type_difference;

TEST_CASE("two equal descriptions have no difference") {
  const described_type tick{"tick", 16, 8, "bid:f64@0 ask:f64@8"};
  CHECK(type_difference(tick, tick).empty());
}

TEST_CASE("a field of another scalar or at another byte is named, with both") {
  CHECK(type_difference({"tick", 16, 8, "bid:f64@0 ask:f64@8"}, {"tick", 16, 8, "bid:f64@0 ask:u64@8"}) ==
        "field ask is f64 at byte 8, asked for as u64 at byte 8");
  CHECK(type_difference({"tick", 16, 8, "bid:u32[2]@0 ask:f64@8"}, {"tick", 16, 8, "ask:f64@0 bid:u32[2]@8"}) ==
        "field bid is u32[2] at byte 0, asked for as u32[2] at byte 8; field ask is f64 at byte 8, asked for as f64 at "
        "byte 0");
}

TEST_CASE("fields that only one side has, and fields that were renamed, are named") {
  CHECK(type_difference({"tick", 16, 8, "bid:f64@0 ask:f64@8"}, {"tick", 16, 8, "bid:f64@0 offer:f64@8"}) ==
        "field ask (f64 at byte 8) is asked for as offer");
  CHECK(type_difference({"tick", 16, 8, "bid:f64@0 size:u32@8"}, {"tick", 16, 8, "bid:f64@0 count:u64@8"}) ==
        "field size (u32 at byte 8) is not asked for; field count (u64 at byte 8) is asked for, and not there");
}

TEST_CASE("name, size and alignment are said, and variable size") {
  CHECK(type_difference({"tick", 16, 8, ""}, {"quote", 24, 4, ""}) ==
        "the type is named tick, asked for named quote; size 16, asked for 24; alignment 8, asked for 4");
  CHECK(type_difference({"", 0, 1, ""}, {"quote", 8, 1, ""}) ==
        "the type is without a name, asked for named quote; size variable, asked for 8");
}

TEST_CASE("fields that only one side describes are said") {
  CHECK(type_difference({"tick", 8, 8, "bid:f64@0"}, {"tick", 8, 8, ""}) ==
        "the fields are described (QUOIT_FIELDS) there only: bid:f64@0");
  CHECK(type_difference({"tick", 8, 8, ""}, {"tick", 8, 8, "bid:f64@0"}) ==
        "the fields are described (QUOIT_FIELDS) by who asks only: bid:f64@0");
}

TEST_CASE("the same fields in another order are said to be that") {
  CHECK(type_difference({"tick", 16, 8, "bid:f64@0 ask:f64@8"}, {"tick", 16, 8, "ask:f64@8 bid:f64@0"}) ==
        "the fields are described in another order");
}

TEST_CASE("what is no description is compared all the same, and shown without what a terminal would obey") {
  CHECK(type_difference({"a\x1b[2J", 8, 8, ":@ @: \x9b x"}, {"a", 8, 8, "y:u8@0"}) ==
        "the type is named a?[2J, asked for named a; field  ( at byte ) is not asked for; field @ ( at byte ) is not "
        "asked for; field ? ( at byte ) is not asked for; field x ( at byte ) is not asked for; field y (u8 at byte 0) "
        "is asked for, and not there");
}

TEST_CASE("of very many differences the first are named, and the others counted") {
  std::string fields;
  for (int i = 0; i < 40; ++i) fields += (i == 0 ? "f" : " f") + std::to_string(i) + ":u8@" + std::to_string(i);
  const std::string text = type_difference({"t", 40, 1, fields}, {"t", 40, 1, "g:u64@0"});
  CHECK(text.find("field f15 (u8 at byte 15) is not asked for; and 25 more") != std::string::npos);
  CHECK(text.find("f16") == std::string::npos);
}
