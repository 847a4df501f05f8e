#include "storage/retention.hpp"

#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

namespace {

// No message of segment `number` is younger: where its successor begins, that is known.
bool older_than(const directory_handle& where, u64 number, u64 then_ns) {
  auto next = open_segment_head(where, number + 1);
  segment_start start{};
  return next && (*next)->read_start(start) && start.stamp < then_ns;
}

}  // namespace

u64 retain_segments(const directory_handle& where, const u64 (&lane_id)[2], u64 first_kept, u64 last_kept,
                    u64 segment_bytes, u64 bytes, u64 age_ns, u64 now_ns) {
  u64 removed = 0;
  for (const u64 number : list_segments(where)) {
    if (number >= first_kept) break;
    const bool too_many = bytes != 0 && (last_kept - number + 1) * segment_bytes > bytes;
    const bool too_old = age_ns != 0 && now_ns > age_ns && older_than(where, number, now_ns - age_ns);
    if ((!too_many && !too_old) || !remove_segment(where, number, lane_id)) break;
    ++removed;
  }
  return removed;
}

}  // namespace quoit::inline v1::detail
