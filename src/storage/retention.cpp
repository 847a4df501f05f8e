#include "storage/retention.hpp"

#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

namespace {

// No message of segment `number` is younger: where its successor begins, that is known.
bool older_than(const std::string& directory, u64 number, u64 then_ns) {
  auto next = open_segment_head(directory, number + 1);
  segment_start start{};
  return next && (*next)->read_start(start) && start.stamp < then_ns;
}

}  // namespace

u64 retain_segments(const std::string& directory, u64 first_kept, u64 last_kept, u64 segment_bytes, u64 bytes,
                    u64 age_ns, u64 now_ns) {
  u64 removed = 0;
  for (const u64 number : list_segments(directory)) {
    if (number >= first_kept) break;
    const bool too_many = bytes != 0 && (last_kept - number + 1) * segment_bytes > bytes;
    const bool too_old = age_ns != 0 && now_ns > age_ns && older_than(directory, number, now_ns - age_ns);
    if ((!too_many && !too_old) || !remove_segment(directory, number)) break;
    ++removed;
  }
  return removed;
}

}  // namespace quoit::inline v1::detail
