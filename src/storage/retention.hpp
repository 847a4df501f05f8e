// Which segments are kept.
#pragma once

#include "storage/directory_handle.hpp"

namespace quoit::inline v1::detail {

// Removes the oldest segments of a lane below `first_kept` while those up to `last_kept` have more than `bytes`
// together, or while everything in the oldest is older than `age_ns` at `now_ns`; 0 means no such limit. Stops at the
// first in which a reader is, and at the first that cannot be removed. Returns how many were removed.
u64 retain_segments(const directory_handle& where, const u64 (&lane_id)[2], u64 first_kept, u64 last_kept,
                    u64 segment_bytes, u64 bytes, u64 age_ns, u64 now_ns);

}  // namespace quoit::inline v1::detail
