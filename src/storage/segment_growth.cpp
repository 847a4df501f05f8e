#include "storage/segment_growth.hpp"

#include <algorithm>

namespace quoit::inline v1::detail {

namespace {

constexpr u64 growth = 4;
// A segment has room for that many of the largest messages, where their size is known.
constexpr u64 messages_min = 16;

}  // namespace

segment_kind grown_segment(const segment_kind& lane, u64 before, u64 frame_bytes) {
  const u64 needed = std::max(frame_bytes, messages_min * lane.payload_bytes_max);
  segment_kind next = lane;
  next.segment_bytes =
      std::max(first_segment_bytes, before > lane.segment_bytes / growth ? lane.segment_bytes : before * growth);
  for (; next.segment_bytes < lane.segment_bytes; next.segment_bytes *= growth) {
    const auto geometry = make_segment_geometry(next);
    if (geometry && geometry->data_bytes >= needed) return next;
  }
  return lane;
}

bool can_go_on_in(const segment_geometry& segment, const segment_kind& lane) {
  segment_kind same = lane;
  same.segment_bytes = segment.segment_bytes;
  const auto wanted = make_segment_geometry(same);
  const auto largest = make_segment_geometry(lane);
  if (!wanted || segment != *wanted || !largest) return false;
  // A smaller one that no growth makes is of a publisher with a smaller segment_bytes: this one asked for more.
  return segment.segment_bytes == largest->segment_bytes ||
         (segment.segment_bytes >= first_segment_bytes && segment.segment_bytes < largest->segment_bytes);
}

}  // namespace quoit::inline v1::detail
