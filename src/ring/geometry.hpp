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
  u64 history;            // messages that stay, while `loans_max` loans are open
  u32 loans_max;
  bool stamped;
  bool lossy_allowed;  // costs: no message may be larger than a stride
  bool reliable_allowed;
};

// Whether what is asked for makes sense, sizes aside. The functions below that return a size require it.
// Errors: invalid_argument.
result<void> check_request(const lane_request& request);

// Errors: invalid_argument (of a history that does not fit, value: capacity_bytes that suffices), message_too_large
// (value: the same, 0 if no lane takes such messages).
result<lane_geometry> make_geometry(const lane_request& request);

// Writes a geometry into the header of a lane that is being made.
void write_geometry(const lane_geometry& geometry, lane_header& head, lane_slots& slots) noexcept;

// Checks what a lane's two headers say against each other and against the sizes of the files.
// Errors: corrupt, newer_version.
result<lane_geometry> read_geometry(const lane_header& head, u64 data_file_bytes, const lane_slots& slots,
                                    u64 slots_file_bytes);

// The smallest capacity of a lane that takes messages of this size. 0: there is no such lane.
u64 capacity_for(const lane_request& request) noexcept;

// The smallest capacity of a lane in which `history` of the largest messages stay. 0: there is no such lane.
u64 capacity_for_history(const lane_request& request) noexcept;

}  // namespace quoit::inline v1::detail
