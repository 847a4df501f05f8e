#include "storage/segment_mending.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace quoit::inline v1::detail {

namespace {

// Tries each bit of [0, bytes) in turn, and leaves the one flipped with which `right()` holds.
template <class Right>
bool flip_one(std::byte* from, std::size_t bytes, Right&& right) noexcept {
  for (std::size_t bit = 0; bit < bytes * 8; ++bit) {
    std::byte& byte = from[bit / 8];
    const std::byte as_it_was = byte;
    byte ^= std::byte{1} << (bit % 8);
    if (right()) return true;
    byte = as_it_was;
  }
  return false;
}

}  // namespace

bool mend_header(segment_header& header) noexcept {
  if (header.check == header_check(header)) return false;
  // In a copy: whoever looks meanwhile sees one store.
  segment_header copy;
  std::memcpy(static_cast<void*>(&copy), &header, sizeof copy);
  auto* const bytes = reinterpret_cast<std::byte*>(&copy);
  const std::size_t checked = offsetof(segment_header, check) + sizeof copy.check;
  if (!flip_one(bytes, checked, [&] { return copy.check == header_check(copy); })) return false;
  std::memcpy(static_cast<void*>(&header), bytes, checked);
  return true;
}

bool mend_start(const segment_file& segment) noexcept {
  segment_start& there = segment.header().start;
  segment_start start{};
  if (segment.read_start(start)) return false;
  std::memcpy(&start, &there, sizeof start);
  const auto right = [&] { return start.check == start_check(start, segment.salt); };
  bool mended = false;
  if (!right()) {
    auto* const bytes = reinterpret_cast<std::byte*>(&start);
    mended = flip_one(bytes, offsetof(segment_start, after_failure), right);
    if (!mended) return false;
  }
  // Said of a segment of which it is not true, it harms nothing.
  if (start.after_failure != 0 && start.after_failure != segment_failure_mark) {
    start.after_failure = std::popcount(start.after_failure) == 1 ? 0 : segment_failure_mark;
    mended = true;
  }
  if (mended) std::memcpy(&there, &start, sizeof start);
  return mended && segment.read_start(start);
}

bool is_clock_wrong(const segment_file& segment) noexcept {
  segment_clock clock{};
  if (segment.read_clock(clock)) return false;
  const auto* const bytes = reinterpret_cast<const std::byte*>(&segment.header().clock);
  return std::any_of(bytes, bytes + sizeof clock, [](std::byte b) { return b != std::byte{}; });
}

bool mend_clock(const segment_file& segment) noexcept {
  if (!is_clock_wrong(segment)) return false;
  segment_clock& there = segment.header().clock;
  segment_clock clock{};
  std::memcpy(&clock, &there, sizeof clock);
  const auto right = [&] { return clock.check == clock_check(clock, segment.salt); };
  if (!right() && !flip_one(reinterpret_cast<std::byte*>(&clock), sizeof clock, right)) clock = {};
  std::memcpy(&there, &clock, sizeof clock);
  if (is_clock_wrong(segment)) there = {};
  return true;
}

std::array<std::pair<u64, u64>, 4> segment_gaps(const segment_file& segment) noexcept {
  const segment_geometry& g = segment.geometry;
  return {{
      {offsetof(segment_header, check) + word_bytes, offsetof(segment_header, start)},
      {offsetof(segment_header, clock) + sizeof(segment_clock), segment_header_bytes},
      {segment_header_bytes + sizeof(segment_index_entry) * g.index_entries, g.data_offset},
      {g.data_offset + g.data_bytes, g.segment_bytes},
  }};
}

bool clear_gaps(const segment_file& segment) noexcept {
  bool any = false;
  for (const auto& [begin, end] : segment_gaps(segment)) {
    std::byte* const from = segment.memory.data() + begin;
    std::byte* const to = segment.memory.data() + end;
    // A page that is not written needs no writing back.
    if (std::all_of(from, to, [](std::byte b) { return b == std::byte{}; })) continue;
    std::fill(from, to, std::byte{});
    any = true;
  }
  return any;
}

}  // namespace quoit::inline v1::detail
