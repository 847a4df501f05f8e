// One frame of a segment after another, as readers, recovery and `verify` see them.
#pragma once

#include "quoit/detail/segment_appender.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

enum class step_kind : u8 {
  message,
  voided,
  skip,     // something between two frames
  claimed,  // not published yet
  end,      // nothing there yet
  rolled,   // goes on in the next segment
  newer,    // a flag that this version does not know
  bad,      // no whole frame: torn, or flipped
};

struct frame_step {
  step_kind kind = step_kind::end;
  frame_header header{};
  u64 length = 0;  // to the next place
  u64 stamp = 0;
  const char* reason = "";  // of `bad`
};

// What is at `place` of a segment whose positions begin at `begin`. Only with `check` is every byte looked at.
frame_step look_at_frame(const segment_file& segment, u64 begin, const log_place& place, bool check) noexcept;

// The place behind it. A claimed frame counts as void: its publisher is dead.
log_place behind(const log_place& place, const frame_step& step) noexcept;

// Whether a segment that begins so follows what ends so: with the next sequence, or with an epoch of its own (S12).
constexpr bool follows_on(const segment_start& start, const log_place& end) noexcept {
  if (start.sequence == end.sequence && start.voids == end.voids) return true;
  return start.epoch_begin == start.sequence && start.sequence >= end.sequence &&
         start.sequence - start.voids == end.sequence - end.voids;
}

// True if the entry of this part is whole, and may be believed.
bool read_entry(const segment_file& segment, u32 part, segment_index_entry& out) noexcept;

// The last place that the index knows and for which `before(entry)` is true; the start of the segment if there is none.
// There are at most a thousand entries, in a few pages: they are looked at one by one, and one that is missing or wrong
// costs a longer walk and nothing else.
template <class Before>
log_place place_from_index(const segment_file& segment, const segment_start& start, Before&& before) noexcept {
  segment_index_entry entry{};
  for (u32 part = segment.geometry.index_entries; part-- > 0;) {
    if (read_entry(segment, part, entry) && before(entry)) {
      return {start.position + entry.offset(), entry.sequence, entry.voids, entry.stamp};
    }
  }
  return {start.position, start.sequence, start.voids, start.stamp};
}

}  // namespace quoit::inline v1::detail
