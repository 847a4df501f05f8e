#pragma once

#include <cstdint>
#include <quoit/fields.hpp>

struct reading {
  std::uint32_t source;  // which publisher
  std::uint32_t last;    // 1 on its last reading
  std::uint64_t number;  // 0, 1, 2, ...
  double value;
};
QUOIT_FIELDS(reading, source, last, number, value)
