// The lane in memory: the ring of one publisher. docs/format/lane.md is this file in prose.
//
// A lane is two files. The data file is written by its publisher only and mapped read-only by subscribers:
// one header page, then the ring. The slot file is writable by both sides: the state of the lane, the
// publisher's `waiting` word and one slot for each subscription of the topic.
//
// A position counts bytes since the lane was made and only grows; its place in the ring is position % ring.
// The ring is cut into 8 to 64 strides, all of one size; the stride of a position has the index
// (position / stride) % strides, one bit of a 64-bit mask.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quoit/detail/atomic.hpp"

namespace quoit::inline v1::detail {

inline constexpr u16 layout_major = 1;
inline constexpr u16 layout_minor = 1;

inline constexpr u64 lane_magic = 0x31656e616c74716f;   // "oqtlane1" in little-endian order
inline constexpr u64 slots_magic = 0x31746f6c7374716f;  // "oqtslot1"

inline constexpr u32 strides_min = 8;
inline constexpr u32 strides_max = 64;
inline constexpr u32 subscriptions_limit = 1024;  // most subscriptions that a topic can be made for
inline constexpr u64 ring_bytes_max = u64{1} << 31;
inline constexpr u32 alignment_max = 4096;

// Every segment begins with this. What it says is input: it is checked before anything else is read.
struct segment_prefix {
  u64 magic;
  u16 layout_major;
  u16 layout_minor;
  u32 header_bytes;       // of the whole fixed part
  u64 required_features;  // an unknown bit is an error
  u64 optional_features;  // an unknown bit is ignored
  u32 entry_bytes;        // of one entry of the segment's (first) table
  u32 entry_count;
  u64 segment_bytes;
  u8 boot_id[16];
};
static_assert(sizeof(segment_prefix) == 64);

// ---- frames --------------------------------------------------------------------------------------------

enum class frame_kind : u8 {
  claimed = 1,  // taken by its publisher, not yet visible
  message = 2,
  voided = 3,  // spends its sequence, delivered to nobody, not counted as lost
  skip = 4,    // no sequence; the next frame begins behind it
};

inline constexpr u8 frame_stamped = 1;  // one word follows the header: CLOCK_REALTIME in ns
inline constexpr u8 frame_checked = 2;  // one more word follows: CRC32C
inline constexpr u8 frame_flags_known = frame_stamped | frame_checked;

inline constexpr u64 word_bytes = 8;

// The header word: payload bytes (32 bits), kind (4), flags (4), the low 24 bits of the sequence.
// For a skip, "payload" is everything behind the header word. No valid header is 0.
struct frame_header {
  u64 word;

  static constexpr frame_header make(u32 payload_bytes, frame_kind kind, u8 flags, u64 sequence) noexcept {
    return {u64{payload_bytes} | (u64{static_cast<u8>(kind)} << 32) | (u64{flags} << 36) | (sequence << 40)};
  }
  constexpr u32 payload_bytes() const noexcept { return static_cast<u32>(word); }
  constexpr u8 kind_bits() const noexcept { return static_cast<u8>((word >> 32) & 0xf); }
  constexpr u8 flags() const noexcept { return static_cast<u8>((word >> 36) & 0xf); }
  constexpr u32 sequence_low() const noexcept { return static_cast<u32>(word >> 40); }
  constexpr bool is(frame_kind kind) const noexcept { return kind_bits() == static_cast<u8>(kind); }
};
inline constexpr u32 sequence_low_mask = 0xffffff;

// Bytes from the header word to the payload.
constexpr u64 payload_offset(u8 flags) noexcept {
  return word_bytes * (1 + u64{(flags & frame_stamped) != 0} + u64{(flags & frame_checked) != 0});
}
constexpr u64 align_up(u64 value, u64 alignment) noexcept { return (value + alignment - 1) & ~(alignment - 1); }
constexpr u64 align_down(u64 value, u64 alignment) noexcept { return value & ~(alignment - 1); }

// ---- the data file -------------------------------------------------------------------------------------

// A place from which a reader that was passed over can go on: the first frame place inside a stride.
struct lane_checkpoint {
  u64 sequence;  // of the frame at `position`
  u64 voids;     // void frames before it
  u64 position;  // stored last, with release
  u64 unused;
};

struct lane_header {
  segment_prefix prefix;

  // Set once, before the lane has a name.
  u64 ring_bytes;
  u64 data_offset;  // of position 0 in the data file
  u32 strides;
  u32 alignment;          // of frames
  u32 payload_alignment;  // of payloads; payloads of types with alignof above 8
  u32 frame_bytes_max;    // header, words, payload and padding
  u32 payload_bytes_max;
  u8 frame_flags;  // on every frame of this lane
  u8 policy;
  u8 lossy_allowed;
  u8 reliable_allowed;
  u64 publisher_id[2];
  u64 created_ns;  // CLOCK_REALTIME

  // Written by the publisher at each stride, read by lossy readers when they pin.
  alignas(line_pair_bytes) u64 reserved;

  // Written by the publisher at each commit; read by nobody's fast path.
  alignas(line_pair_bytes) u64 committed;  // a position that was committed: a hint
  u64 published;                           // sequences spent, voids included
  u64 voids;
  u64 payload_bytes;
  u64 refused;  // loans that found no room
  u64 wakes;    // system calls made to wake a subscriber

  alignas(line_pair_bytes) lane_checkpoint checkpoints[strides_max];
};
inline constexpr std::size_t lane_header_bytes = 4096;
static_assert(sizeof(lane_checkpoint) == 32);
static_assert(sizeof(lane_header) <= lane_header_bytes);
static_assert(offsetof(lane_header, reserved) == 256 || offsetof(lane_header, reserved) == 128);
static_assert(alignof(lane_header) == line_pair_bytes);

// ---- the slot file -------------------------------------------------------------------------------------

enum class lane_state : u64 { open = 1, closed = 2 };

// One for each subscription of the topic; slot i belongs to subscription i.
struct alignas(line_pair_bytes) lane_slot {
  // Written by the subscriber. Reliable: the position of the oldest byte that it still needs. Lossy: bit i is
  // set while it may read a byte of a stride with index i.
  u64 place;
  // Counters, written by the subscriber, for whoever lists the topic.
  u64 received;
  u64 lost;
  u64 position;
};
static_assert(sizeof(lane_slot) == 128);

struct lane_slots {
  segment_prefix prefix;
  alignas(line_pair_bytes) u64 state;    // lane_state; open by the publisher, closed by whoever cleans up
  alignas(line_pair_bytes) u64 waiting;  // 1 while the publisher waits for space; taken by exchange
  // Bit i: slot i is active as a wall, or as a mask. Changed when a subscription comes or goes.
  alignas(line_pair_bytes) u64 reliable_active[subscriptions_limit / 64];
  alignas(line_pair_bytes) u64 lossy_active[subscriptions_limit / 64];
  alignas(line_pair_bytes) lane_slot slot[1];  // as many as prefix.entry_count
};
inline constexpr std::size_t slots_header_bytes = offsetof(lane_slots, slot);
static_assert(slots_header_bytes == 640);

constexpr std::size_t slots_bytes(u32 subscriptions) noexcept {
  return slots_header_bytes + sizeof(lane_slot) * subscriptions;
}

// ---- geometry ------------------------------------------------------------------------------------------

// What both sides keep in private memory: never read again from the segment once it was checked.
struct lane_geometry {
  u64 ring_bytes;
  u64 stride_bytes;
  u32 stride_shift;
  u32 strides;
  u32 alignment;
  u32 payload_alignment;
  u32 frame_bytes_max;
  u32 payload_bytes_max;
  u32 subscriptions;  // slots
  u8 flags;           // frame_flags of every frame
  bool lossy_allowed;
  bool reliable_allowed;

  constexpr u64 stride_of(u64 position) const noexcept { return position >> stride_shift; }
  constexpr u64 stride_begin(u64 position) const noexcept { return align_down(position, stride_bytes); }
  constexpr u64 offset(u64 position) const noexcept { return position & (ring_bytes - 1); }
  constexpr u64 lap_end(u64 position) const noexcept { return align_down(position, ring_bytes) + ring_bytes; }
  constexpr u64 bit(u64 position) const noexcept { return u64{1} << (stride_of(position) & (strides - 1)); }
  // Bytes of a frame with this payload, padding included.
  constexpr u64 extent(u64 payload_bytes) const noexcept {
    return align_up(payload_offset(flags) + payload_bytes, alignment);
  }
  // Where position 0 lies behind the header page: chosen so that payloads, not headers, are aligned when a
  // type asks for more than a word.
  constexpr u64 data_offset() const noexcept {
    if (payload_alignment <= word_bytes) return lane_header_bytes;
    return lane_header_bytes + align_up(payload_offset(flags), payload_alignment) - payload_offset(flags);
  }
  constexpr u64 data_file_bytes() const noexcept { return align_up(data_offset() + ring_bytes, 4096); }
};

// The memory of one lane, owned by somebody else and alive for as long as this is used.
struct lane_memory {
  lane_header* head;
  lane_slots* slot_table;
  std::byte* data;  // position 0

  u64& word(u64 offset) const noexcept { return *static_cast<u64*>(static_cast<void*>(data + offset)); }
};

}  // namespace quoit::inline v1::detail
