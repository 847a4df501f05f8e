// Where a publisher goes on in a lane that was there before.
//
// What was written since the machine started, in these very files, cannot be torn: it is in the page cache, whoever
// died. The publisher goes on at the committed end. What is older, or was copied, is verified from the last durable
// position on; at the first frame that is not whole the lane is cut, and what is behind is said. Nothing is destroyed:
// the rest of a segment stays where it is, behind a skip, and segments that cannot be reached are renamed to
// `.seg.cut`. What is not whole before the durable position was whole once: that is `corrupt`, and for people to decide
// (repair).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quoit/detail/segment_appender.hpp"
#include "storage/lane_clock.hpp"
#include "storage/log_lane.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

struct recovery_report {
  u64 segments = 0;  // that are there
  u64 messages_verified = 0;
  u64 bytes_cut = 0;  // from the cut to the last byte that is not zero, and whole segments behind
  u64 segments_cut = 0;
  u64 cut_sequence = 0;       // of the first message that is not there any more, where something was cut
  std::string cut;            // where, and why; empty: nothing was
  u64 sequences_skipped = 0;  // by the publisher, where an epoch begins (S12)
  // ---- of a repair ----
  std::vector<std::string> cuts;    // all of them; `cut` is the first
  std::vector<std::string> mended;  // what was put right without giving anything up
};

struct recovered_lane {
  std::shared_ptr<segment_file> segment;  // the last, open for writing; null: there is none yet
  bool is_full = false;                   // nothing is written there any more
  log_place place;                        // where to go on
  std::optional<lane_clock> clock;        // of the last segment; none: there is none
  u64 epoch_begin = 0;                    // of the last segment
  bool epoch_due = false;                 // behind `place` sequences may have been used (S12)
  u64 next_number = 1;                    // of the segment to make, where there is none, or it is full
  recovery_report report;
};

// Requires the lane's lock. With `durable`, all that is there is on the disk when this returns. With `repair`, the lane
// is cut also where it is corrupt; with `rehearse`, which needs no lock, nothing is changed. Errors: as open_segment();
// corrupt where a frame, or a segment, is missing or wrong that was whole once.
result<recovered_lane> recover_lane(const log_lane& lane, bool durable, bool repair, const storage_calls& calls,
                                    bool rehearse = false);

}  // namespace quoit::inline v1::detail
