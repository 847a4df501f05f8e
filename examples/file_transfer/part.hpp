#pragma once

#include <cstddef>
#include <cstdint>
#include <quoit/fields.hpp>

// A part of a file. It is large: publisher and subscriber fill and empty it where it lies, in shared memory.
struct part {
  std::uint64_t file_bytes;  // of the whole file, as its publisher found it
  std::uint64_t offset;      // of the first byte of data
  std::uint64_t bytes;       // of data; 0 ends the file, and `offset` is its size
  std::byte data[256 * 1024 - 24];
};
QUOIT_FIELDS(part, file_bytes, offset, bytes, data)
