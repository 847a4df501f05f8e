#pragma once

#include <cstdint>
#include <quoit/fields.hpp>

// What the topic carries: a plain struct. Both programs compile it, and the topic checks that they agree.
struct quote {
  double bid;
  double ask;
  std::uint32_t size;
  char symbol[12];
};
QUOIT_FIELDS(quote, bid, ask, size, symbol)
