// How large the next segment of a lane is. A lane begins with a small segment, and each one is four times as large as
// the one before, until they have the size of its kind: few messages take little of a disk, many are in few files.
#pragma once

#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

inline constexpr u64 first_segment_bytes = u64{4} << 20;

// The kind of the segment behind one of `before` bytes (0: there is none), in which a frame of `frame_bytes` has room.
// make_segment_geometry() takes `lane`; a frame that does not fit into a segment of that kind fits into none.
segment_kind grown_segment(const segment_kind& lane, u64 before, u64 frame_bytes);

// True if a publisher of this kind goes on in a segment that is there.
bool can_go_on_in(const segment_geometry& segment, const segment_kind& lane);

}  // namespace quoit::inline v1::detail
