// What the lane's own file says of the lane, beside its id. Each is input: a wrong check means that it is not known.
#pragma once

#include <optional>
#include <string>

#include "quoit/detail/segment_appender.hpp"

namespace quoit::inline v1::detail {

struct log_lane;

// The position before which everything is known to be on the disk. 0 if that is not known.
u64 known_durable(const log_lane_header& header) noexcept;
// A position is recorded, and its check is wrong. Of a lane that nobody writes.
bool is_durable_wrong(const log_lane_header& header) noexcept;
void note_durable(log_lane_header& header, u64 position) noexcept;
u64 durable_check(u64 position, const u64 (&lane_id)[2]) noexcept;

// Number of the last segment to which its publisher came. 0: none, or not known.
u64 known_begun(const log_lane_header& header) noexcept;
void note_begun(log_lane_header& header, u64 number) noexcept;

struct lane_end {
  u64 position;
  u64 sequence;
};
// Where the last publisher went with every frame resolved. Nothing: it lives, was killed, or that is not known.
std::optional<lane_end> known_end(const log_lane_header& header) noexcept;
void note_end(log_lane_header& header, lane_end end) noexcept;
void forget_end(log_lane_header& header) noexcept;

// So many are reserved at once: as many as the quickest publisher uses in a third of a second.
inline constexpr u64 sequences_reserved_at_once = u64{1} << 24;

// No publisher has used this sequence, or a higher one. 0: that is not known.
u64 known_limit(const log_lane_header& header) noexcept;
// The caller syncs the file before a sequence from the old limit on is used.
void note_limit(log_lane_header& header, u64 sequence) noexcept;

// What the records of a lane that nobody writes say was there, behind the end that is found.
struct missing_end {
  std::string words;  // empty: nothing
  // It was on the disk, or its publisher lived in this boot: no power failure can have taken it.
  bool was_safe = false;
};
// `last_segment`: the last one that was begun; 0: none is there. `end`: behind the last whole frame.
missing_end compare_with_records(const log_lane& lane, u64 last_segment, const log_place& end);

// The sequence with which an epoch begins that goes on at `end` (S12): behind every sequence that may have been used.
u64 begin_of_epoch(const log_lane& lane, u64 end, u64 now_ns) noexcept;

// Whether the last publisher wrote this very file: else it is a copy of that one.
bool is_home(const log_lane_header& header, int file) noexcept;
void note_home(log_lane_header& header, int file) noexcept;

// Whether the last publisher lived in this boot, and in this very file: all that it stored is in the file.
bool was_written_in_this_boot(const log_lane& lane) noexcept;
void note_boot(log_lane_header& header) noexcept;

}  // namespace quoit::inline v1::detail
