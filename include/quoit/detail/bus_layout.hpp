// The bus segment, `/dev/shm/quoit.<bus>`: who is on the bus, and how each is woken. docs/format/bus.md is
// this file in prose.
//
// A node is one opened bus in one process. It lives as long as it holds the write lock on its byte of this
// file (node_lock_byte); its entry says who it is, for people, and holds the words with which it is woken.
#pragma once

#include <cstddef>

#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

inline constexpr u64 bus_magic = 0x3173756274716f00;  // "oqtbus1" behind a zero byte
inline constexpr u32 nodes_limit = 65536;

// prefix.required_features of a bus in /dev/shm: each node holds a lock on the directory too (docs/format/bus.md).
inline constexpr u64 bus_has_instance_locks = 1;

// Set by its node, taken by whoever wakes it.
struct doorbell {
  u32 word;      // the futex; counts wakes
  u32 sleeping;  // how the node is woken, while it sleeps or is about to; else 0
};
inline constexpr u32 sleeps_on_word = 1;
inline constexpr u32 sleeps_on_pipe = 2;  // quoit.<bus>@bell-<node>-<generation>, once `word` is counted up

// Hints: which of the node's subscriptions may have something. Subscription i has bit i % 1024; the lanes
// decide.
inline constexpr u32 ready_words = 16;
inline constexpr u32 ready_bits = ready_words * 64;

struct alignas(line_pair_bytes) node_entry {
  // Written by whoever holds the node's byte.
  u64 state;       // 0 free, 1 in use
  u64 generation;  // of this use of the entry
  u64 id[2];
  u64 started_ns;
  u32 pid;  // for people only: it means nothing in another pid namespace
  u32 uid;
  char name[48];
  // Written by the node, counters.
  u64 sleeps;
  u64 late;  // sleeps that the recheck ended, with something there
  u64 vain;  // sleeps that a waker ended, with nothing there
  u32 rung;  // sleeps_on_pipe once it has a pipe, else sleeps_on_word once it has slept, else 0

  alignas(line_pair_bytes) doorbell bell;
  // The node's pipe, on a bus without names: what it is in its process, and by what others know it. 0: none.
  u64 bell_inode;
  u32 bell_descriptor;

  // In which `pid` means something; 0: not known. Written with it.
  u64 pid_namespace;

  alignas(line_pair_bytes) u64 ready[ready_words];
};
static_assert(sizeof(node_entry) == 384);

struct bus_header {
  segment_prefix prefix;  // entry_count: nodes
  char name[64];
};
inline constexpr std::size_t bus_header_bytes = 4096;
static_assert(sizeof(bus_header) <= bus_header_bytes);

constexpr std::size_t bus_bytes(u32 nodes) noexcept {
  return align_up(bus_header_bytes + sizeof(node_entry) * nodes, 4096);
}

// Bytes on which locks are held: far behind the end of the file.
constexpr u64 node_lock_byte(u32 node) noexcept { return (u64{1} << 41) + node; }

}  // namespace quoit::inline v1::detail
