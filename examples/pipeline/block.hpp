#pragma once

#include <cstddef>
#include <cstdint>
#include <quoit/fields.hpp>

// What both topics carry.
struct block {
  std::uint64_t number;  // 0, 1, 2, ...
  std::uint64_t used;    // of the words; 0 ends the stream
  std::uint64_t words[510];
};
QUOIT_FIELDS(block, number, used, words)
static_assert(sizeof(block) == 4096);

inline constexpr const char* raw_topic = "pipeline/raw";      // from the source to the stage
inline constexpr const char* mixed_topic = "pipeline/mixed";  // from the stage to the sink

// Small, so that who is slow is felt at once: each topic holds 31 blocks at most.
inline constexpr std::uint64_t ring_bytes = 128 * 1024;

// The words of the source, and what the stage makes of each.
inline std::uint64_t raw(std::uint64_t number, std::size_t i) { return number * 510 + i; }
inline std::uint64_t mixed(std::uint64_t word) { return (word ^ (word >> 31)) * 0x9e3779b97f4a7c15u; }
