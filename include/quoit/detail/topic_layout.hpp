// The control segment of a topic, `/dev/shm/quoit.<bus>.<topic>`: its type, who publishes, who subscribes and
// who wants to be woken. docs/format/topic.md is this file in prose.
//
// Entries change under the topic's lock (the lock of this file); they are read at any time.
#pragma once

#include <cstddef>

#include "quoit/detail/bus_layout.hpp"

namespace quoit::inline v1::detail {

inline constexpr u64 topic_magic = 0x3163706f7474716f;    // "oqttopc1"
inline constexpr u64 storage_magic = 0x31726f747374716f;  // "oqtstor1"
inline constexpr u32 publishers_limit = 1024;
inline constexpr std::size_t type_name_bytes_max = 191;
inline constexpr std::size_t topic_name_bytes_max = 160;
inline constexpr std::size_t type_fields_bytes_max = 1791;
inline constexpr std::size_t topic_directory_bytes_max = 1511;
inline constexpr std::size_t lane_name_bytes_max = 64;

// prefix.required_features of every topic: `storage` says where it is kept, and may change.
inline constexpr u64 topic_has_storage = 2;

enum class participant_state : u64 {
  free = 0,
  active = 1,
  closed = 2,  // a lane whose publisher left, which some subscriber has not read to its end
  dead = 3,    // the same, but its publisher died: the next one may adopt it
};

struct alignas(line_pair_bytes) publisher_entry {
  u64 state;            // participant_state, stored last
  u64 lane_generation;  // of the lane's file names
  u64 node_generation;
  u32 node;
  u32 policy;
  u64 id[2];
  u64 epoch;  // of the roster when this entry last changed
  // 0: its lane is two files in shared memory. 1: a directory of segments on disk, with this name in that of the topic;
  // no files have its generation.
  u32 on_disk;
  u32 pipe;  // quoit.<bus>@bell-<node>-<generation>-<pipe>, to which whoever takes `waiting` writes too; 0: none
  char lane_name[lane_name_bytes_max];  // ends with a zero byte if it is shorter
};
static_assert(sizeof(publisher_entry) == 128);

struct alignas(line_pair_bytes) subscription_entry {
  u64 state;  // participant_state, stored last
  u64 node_generation;
  u32 node;
  u32 ready_bit;  // in the node's ready set
  u32 mode;       // as asked for
  u32 samples_max;
  u64 id[2];
  u32 pipe;          // quoit.<bus>@bell-<node>-<generation>-<pipe>, to which whoever fires it writes too; 0: none
  u32 keeps_place;   // 1: it named a directory, or a subscription in one; the topic is kept nowhere else while it lives
  u64 storage_seen;  // the storage record up to which it follows; written by its owner
};
static_assert(sizeof(subscription_entry) == 128);

struct topic_header {
  segment_prefix prefix;   // entries: publishers
  u32 subscription_bytes;  // of one entry
  u32 subscriptions;
  u32 type_bytes;  // of a message; 0: variable
  u32 type_alignment;
  u64 next_lane_generation;
  char name[topic_name_bytes_max + 8];
  char type_name[type_name_bytes_max + 1];
  char type_fields[type_fields_bytes_max + 1];

  // Counts changes of the publisher table; stored after them.
  alignas(line_pair_bytes) u64 roster;

  // Bit i: subscription i wants to be woken. Set by it, taken by whoever makes something visible.
  alignas(line_pair_bytes) u64 armed[subscriptions_limit / 64];

  u64 id;              // random, of this making of the topic
  u64 storage;         // the generation of the storage record that counts, stored behind it; 0: in memory, without one
  u64 storage_making;  // of the record that was made last, stored before it has a name
  u64 has_lane_files;  // 1 from before the first lane in memory has names
};
inline constexpr std::size_t topic_header_bytes = 4096;
static_assert(sizeof(topic_header) <= topic_header_bytes);

// A storage record, `<topic's file>@<generation>d`: where the topic is kept. Written before it has a name, and then
// read only. Behind its header lies the text of a cursor (src/topic/topic_storage.hpp).
struct storage_header {
  segment_prefix prefix;  // entries: bytes of that text
  u64 previous;           // the generation of the record before it; 0: there is none
  // DIR, absolute, and which directory DIR/<topic> is. Empty: the topic is in memory.
  u64 device;
  u64 inode;
  u64 has_ends;  // 1: the text was made; 0: no subscription was there that needed it
  char directory[topic_directory_bytes_max + 1];
};
inline constexpr std::size_t storage_header_bytes = 4096;
static_assert(sizeof(storage_header) <= storage_header_bytes);

constexpr std::size_t topic_bytes(u32 publishers, u32 subscriptions) noexcept {
  return align_up(
      topic_header_bytes + sizeof(publisher_entry) * publishers + sizeof(subscription_entry) * subscriptions, 4096);
}

}  // namespace quoit::inline v1::detail
