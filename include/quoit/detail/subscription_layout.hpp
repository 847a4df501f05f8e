// What a named subscription remembers: how far it came in each lane of a topic on disk. docs/format/subscription.md is
// this file in prose.
//
// A table names lanes, each once and for good. Two slots take turns: commit n is in slot n % 2, and the other one has
// the commit before it. A third one is written when the subscription is opened, and synced before it goes on.
#pragma once

#include <cstddef>

#include "quoit/detail/crc32c.hpp"
#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

inline constexpr u64 subscription_magic = 0x317362757374716f;  // "oqtsubs1"
inline constexpr u32 remembered_lanes_max = 1016;
inline constexpr u32 commit_slots = 3;
inline constexpr u32 anchor_slot = 2;

struct remembered_lane {
  char name[64];  // ends with a zero byte if it is shorter
  u64 lane_id[2];
  u64 check;  // of everything before, stored last; 0: no lane
  u64 reserved;
};
static_assert(sizeof(remembered_lane) == 96);

struct commit_slot {
  u64 commit;  // 1, 2, 3, ...; the highest whole one counts
  u64 lanes;   // of the table, that it speaks of
  u64 check;   // of commit, lanes, and the sequences and checks of those lanes; stored last; 0: being written, or never
  u64 reserved[5];
  u64 sequence[remembered_lanes_max];  // of the next message of each lane
};
static_assert(sizeof(commit_slot) == 8192);

struct subscription_header {
  segment_prefix prefix;  // entries: of the table
  u32 salt;               // random, not 0: what each check begins with
  u32 slot_count;
  u64 check;  // of everything before

  // Written by the holder.
  alignas(line_pair_bytes) u64 holder_pid;  // for people: the lock says whether it lives
};
inline constexpr std::size_t subscription_header_bytes = 4096;
static_assert(sizeof(subscription_header) <= subscription_header_bytes);

inline constexpr std::size_t commit_slots_offset =
    align_up(subscription_header_bytes + sizeof(remembered_lane) * remembered_lanes_max, 4096);
inline constexpr std::size_t subscription_file_bytes = commit_slots_offset + sizeof(commit_slot) * commit_slots;

}  // namespace quoit::inline v1::detail
