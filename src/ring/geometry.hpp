// The sizes of a lane: chosen from what a publisher asks for, or read from a segment and checked.
#pragma once

#include "quoit/detail/lane_layout.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

struct lane_request {
  u64 capacity_bytes;     // of the ring, at least; rounded up to a power of two
  u64 payload_bytes_max;  // of one message
  u32 payload_alignment;  // a power of two up to a page
  u32 frame_alignment;    // a power of two from 8 to a page
  u32 strides;            // 8 to 64, a power of two
  u32 subscriptions;      // slots
  bool stamped;
  bool lossy_allowed;  // costs: no message may be larger than a stride
  bool reliable_allowed;
};

// Errors: invalid_argument, message_too_large (value: capacity_bytes that suffices).
result<lane_geometry> make_geometry(const lane_request& request);

// Writes a geometry into the header of a lane that is being made.
void write_geometry(const lane_geometry& geometry, lane_header& head, lane_slots& slots) noexcept;

// Checks what a lane's two headers say against each other and against the sizes of the files.
// Errors: corrupt, newer_version.
result<lane_geometry> read_geometry(const lane_header& head, u64 data_file_bytes, const lane_slots& slots,
                                    u64 slots_file_bytes);

// The smallest capacity of a lane that takes messages of this size.
u64 capacity_for(const lane_request& request) noexcept;

}  // namespace quoit::inline v1::detail
