// A segment: one file of a lane that is kept on disk. docs/format/segment.md is this file in prose.
//
// A lane on disk is a directory of segments, numbered from 1. A position counts the bytes of the lane since it was
// made, as in a ring, but nothing is ever overwritten: position p lies in the segment with start <= p < start +
// data_bytes. What is behind the last frame of a segment is zero until it is written, once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quoit/detail/crc32c.hpp"
#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

inline constexpr u64 segment_magic = 0x316d67657374716f;   // "oqtsegm1"
inline constexpr u64 log_lane_magic = 0x316c676f6c74716f;  // "oqtlogl1"

// Of segments and of the lane's file, in the place of layout_major and layout_minor.
inline constexpr u16 log_layout_major = 2;
inline constexpr u16 log_layout_minor = 0;

inline constexpr u64 segment_bytes_min = u64{64} << 10;
inline constexpr u64 segment_bytes_max = u64{1} << 30;
inline constexpr u32 index_entries_max = 1024;

// Every frame of a segment has both words.
inline constexpr u8 segment_frame_flags = frame_stamped | frame_checked;
inline constexpr u64 segment_words_bytes = payload_offset(segment_frame_flags);
static_assert(segment_words_bytes == 24);

// What the writer fills in when it comes to a segment that was made ahead.
struct segment_start {
  u64 position;
  u64 sequence;  // of its first frame
  u64 voids;     // sequences before it that no message has: void frames, and what was passed over between epochs
  u64 stamp;     // of the frame before it, or `since` of the segment that begins a clock: none in the segment is lower
  u64 epoch_begin;  // the sequence with which the epoch of its frames begins (S12); its own: it begins with it
  u64 check;        // of the five words, not 0: stored last, with release; 0: nothing was written here
  // 0, or segment_failure_mark: the segment before could not be written back, and its tail may be missing. Not part of
  // what is checked, as it is set later too.
  u64 after_failure;
};
inline constexpr u64 segment_failure_mark = 0x6b72616d6c696166;
static_assert(sizeof(segment_start) == 56);

// No sequence comes near this one, so that no sum of two wraps.
inline constexpr u64 sequence_max = u64{1} << 62;

// The clock that stamps the frames of a segment. Stamps never go back in one segment, nor in the segments of one clock:
// where CLOCK_REALTIME was set, the writer goes on in another segment, with which a new clock begins.
struct segment_clock {
  u64 offset;  // CLOCK_REALTIME minus CLOCK_BOOTTIME, in ns, as a two's complement
  u64 zone;    // of CLOCK_BOOTTIME beside the segment's boot_id: inode of the writer's time namespace; 0: that of the
               // machine
  u64 first;   // number of the segment with which this clock began
  u64 since;   // CLOCK_REALTIME then: everything in earlier segments was published before
  u64 before;  // of the frame before that segment, on the clock before
  u64 check;   // of the five words, not 0: stored last, with release; 0: not known, as after a repair
};
static_assert(sizeof(segment_clock) == 48);

// Where frames are, without reading them all: entry i is of the first frame place in part i of the data.
struct segment_index_entry {
  u64 sequence;  // of the frame at its place
  u64 voids;     // void frames before it
  u64 stamp;     // of the frame before it
  u64 place;     // low half: bytes from the begin of the data; high half: check. Stored last; 0: no entry

  constexpr u64 offset() const noexcept { return static_cast<u32>(place); }
  constexpr u32 check() const noexcept { return static_cast<u32>(place >> 32); }
};
static_assert(sizeof(segment_index_entry) == 32);

struct segment_header {
  segment_prefix prefix;  // entries: of the index

  // Set once, before the segment has a name.
  u64 number;
  u64 data_offset;  // in the file
  u64 data_bytes;   // a multiple of 4096; the next segment's positions begin behind them
  u32 alignment;    // of frames
  u32 payload_alignment;
  u32 payload_bytes_max;
  u32 index_shift;  // part i of the data begins at i << index_shift
  u32 salt;         // what the check of each frame begins with
  u32 type_bytes;   // of a message; 0: variable
  u64 lane_id[2];
  u64 created_ns;  // CLOCK_REALTIME
  u64 device;      // of this file, where it was made: of a copy they are others
  u64 inode;
  char topic_name[168];
  char type_name[192];
  char type_fields[1792];
  u64 check;  // of everything before

  // Written by the writer when it comes here, the clock before the first frame.
  alignas(line_pair_bytes) segment_start start;
  segment_clock clock;
};
inline constexpr std::size_t segment_header_bytes = 4096;
static_assert(sizeof(segment_header) <= segment_header_bytes);
static_assert(offsetof(segment_header, check) % 8 == 0);
static_assert(offsetof(segment_header, start) % line_pair_bytes == 0);
// A disk writes 512 bytes or none: after a power failure both records are there, or neither.
static_assert(offsetof(segment_header, start) / 512 == (sizeof(segment_header) - 1) / 512);

// A sequence that no publisher of the lane has used yet. There are two records: a newer one is stored over the older
// one, and on the disk before a sequence from the older one on is used.
struct sequence_limit {
  u64 sequence;
  u64 check;  // of the sequence, stored behind it
};

// The lane's own file: who writes it, and what of it is known. It is synced when a publisher has opened the lane and
// when the sequence limit was raised; what else it says was true at some moment before.
struct log_lane_header {
  segment_prefix prefix;
  u64 lane_id[2];
  u64 check;  // of the id

  // Written by the publisher that holds the lane, when it comes and goes; by a repair.
  alignas(line_pair_bytes) u64 holder_pid;  // for people: the lock says whether it lives
  u64 holder_boot[2];                       // boot_id when it came
  u64 epoch_due;                            // not 0: the next publisher begins an epoch (S12)
  u64 end_position;                         // where it went with every frame resolved
  u64 end_sequence;
  u64 end_check;   // of the two, stored behind them; 0: it has not gone
  u64 home_inode;  // of the file in which it wrote this, and
  u64 home_born;   // when that was made, in ns, as the file system says (0: it does not): of a copy one is another
  u64 home_check;  // of the two, stored behind them

  // Written by its helper.
  alignas(line_pair_bytes) u64 durable_position;
  u64 durable_check;   // of durable_position, stored behind it
  u64 failures;        // of writing back, that made the publisher leave a segment
  u64 failed_segment;  // the last that could not be written back (S9); 0: none
  u64 first_kept;      // segments before this one were removed, or are just being, also from under readers (S11)
  u64 begun_segment;   // low 40 bits: number of the last that the publisher came to; others: check. 0: none

  // Each in a sector of its own: a disk writes 512 bytes or none.
  alignas(512) sequence_limit limit_0;
  alignas(512) sequence_limit limit_1;
};
inline constexpr std::size_t log_lane_bytes = 4096;
static_assert(sizeof(log_lane_header) <= log_lane_bytes);

// What both sides keep in private memory once it was checked.
struct segment_geometry {
  u64 segment_bytes;
  u64 data_offset;
  u64 data_bytes;
  u32 alignment;
  u32 payload_alignment;
  u32 payload_bytes_max;
  u32 index_shift;
  u32 index_entries;

  constexpr u64 extent(u64 payload_bytes) const noexcept {
    return align_up(segment_words_bytes + payload_bytes, alignment);
  }

  bool operator==(const segment_geometry&) const = default;
};

// The part of a frame that is checked besides its words: the payload up to a whole word.
constexpr u64 checked_bytes(u64 payload_bytes) noexcept { return align_up(payload_bytes, word_bytes); }

// A skip has no words of its own: the bits that are a sequence elsewhere hold a part of its check.
inline frame_header segment_skip(u32 salt, u64 position, u64 length) noexcept {
  const u64 word = frame_header::make(static_cast<u32>(length - word_bytes), frame_kind::skip, 0, 0).word;
  const u64 checked[2] = {position, word};
  const u32 crc = crc32c_words(salt, reinterpret_cast<const std::byte*>(checked), sizeof checked);
  return {word | u64{crc & sequence_low_mask} << 40};
}

}  // namespace quoit::inline v1::detail
