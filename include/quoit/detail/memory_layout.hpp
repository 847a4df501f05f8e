// The memory that related processes inherit: a memfd of fixed size with a directory in it, and everything that is a
// file in /dev/shm elsewhere. docs/format/memory.md is this file in prose.
//
// An object has a number, its place in the directory. Its word says what it is, and of which use of the entry: whoever
// holds a number and a word finds out by one load whether the object still has its name.
//
//   free -> making        under the lock of the memory; its maker holds the object's lock
//   making -> placed      under the lock of the memory, which makes "somebody else was first" an answer
//   making, placed -> removed   by anybody who is in its rights as for unlink(2)
//   removed -> free       by whoever holds the use byte for writing: nobody has it mapped; its memory is a hole then
#pragma once

#include <cstddef>

#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

inline constexpr u64 memory_magic = 0x316d656d74716f00;  // "oqtmem1" behind a zero byte

enum class object_state : u64 { free = 0, making = 1, placed = 2, removed = 3 };

constexpr u64 object_word(u64 generation, object_state state) noexcept {
  return generation << 2 | static_cast<u64>(state);
}
constexpr u64 generation_of(u64 word) noexcept { return word >> 2; }
constexpr object_state state_of(u64 word) noexcept { return static_cast<object_state>(word & 3); }

inline constexpr std::size_t object_name_words = 26;

struct alignas(line_pair_bytes) directory_entry {
  u64 word;    // generation and object_state, stored last
  u64 offset;  // in the memory; 0: in a memfd of its maker's
  u64 bytes;
  // Where that one is found, and which it is.
  u64 inode;
  u64 device;
  u32 pid;
  u32 descriptor;
  u64 name[object_name_words];  // padded with zero bytes
};
static_assert(sizeof(directory_entry) == 256);
inline constexpr std::size_t object_name_bytes_max = sizeof(directory_entry::name) - 1;

struct memory_header {
  segment_prefix prefix;  // entries: of the directory
  u64 flags;              // memory_sealed
  u64 entries_used;       // entries from here on were never used
};
inline constexpr std::size_t memory_header_bytes = 4096;
static_assert(sizeof(memory_header) <= memory_header_bytes);
inline constexpr u64 memory_sealed = 1;

inline constexpr u64 memory_bytes_min = u64{1} << 20;
inline constexpr u32 objects_limit = 65536;

constexpr std::size_t directory_end(u32 objects) noexcept {
  return align_up(memory_header_bytes + sizeof(directory_entry) * objects, 4096);
}
// As many entries as memory of this size has use for: the smallest objects have two pages.
constexpr u32 objects_of(u64 memory_bytes) noexcept {
  const u64 wanted = memory_bytes / 32768;
  return wanted < 64 ? 64 : wanted > objects_limit ? objects_limit : static_cast<u32>(wanted);
}

// Object i has the lock bytes that a file of its own would have, this much further on. Those of the memory are at 0.
constexpr u64 object_locks(u32 object) noexcept { return (u64{object} + 1) << 42; }
// In there: held for reading by each process that has the object mapped or open, for writing by who frees its memory.
inline constexpr u64 use_lock_byte = u64{1} << 39;

}  // namespace quoit::inline v1::detail
