// What `verify` finds in a lane, and what `repair` does about it.
#pragma once

#include <string>
#include <vector>

#include "storage/recovery.hpp"

namespace quoit::inline v1::detail {

struct log_fault {
  std::string words;  // a sentence, with the place
  std::string path;   // of the file, or of the lane
  u64 byte = 0;       // in the file; 0: of the file as a whole
  u64 sequence = 0;   // of the message that was due there
};

struct log_verification {
  u64 segments = 0;  // with those that were made ahead
  u64 messages = 0;
  u64 voids = 0;
  u64 missing = 0;  // messages between the first and the last that are not there any more
  u64 skipped = 0;  // sequences between them that no message ever had: what epochs passed over (S12)
  u64 payload_bytes = 0;
  u64 first_sequence = 0;
  u64 next_sequence = 0;
  u64 first_stamp = 0;
  u64 last_stamp = 0;
  u64 durable_position = 0;
  u64 durable_sequence = 0;        // messages below it are on the disk
  bool held = false;               // a publisher has the lane: behind its end may be what it is writing
  std::vector<log_fault> faults;   // bytes that were written otherwise, or not at all
  std::vector<log_fault> remains;  // what a publisher leaves that is killed; the next one puts it right

  bool whole() const noexcept { return faults.empty(); }
};

// Looks at every byte of a lane and changes none. Needs no lock: of a lane that is being written it sees what is there.
// Errors: not_found (there is neither the lane's file nor a segment), no_permission, system. What is wrong with the
// lane is no error but a fault.
result<log_verification> verify_lane(const std::string& directory);

// Cuts the lane where it is not whole: of a segment the rest behind the first bad frame; a segment that is no segment
// of this lane is set aside as `.seg.cut`. What follows stands for itself, and readers are told how many messages they
// miss. Index entries that are missing are written, and so is the lane's own file if it is missing or wrong (the old
// one is set aside as `lane.cut`). With `rehearse` nothing is changed, and the report is what it would be.
// Errors: busy (a publisher holds it), not_found, no_permission, newer_version, system.
result<recovery_report> repair_lane(const std::string& directory, bool rehearse = false);

}  // namespace quoit::inline v1::detail
