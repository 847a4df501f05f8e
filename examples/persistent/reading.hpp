#pragma once

#include <cstdint>
#include <quoit/fields.hpp>

// What is kept. The description goes into the files: `quoit topic echo` prints it without this header.
struct reading {
  std::uint64_t number;  // of this publisher: where it went on after a restart can be seen
  double celsius;
};
QUOIT_FIELDS(reading, number, celsius)
