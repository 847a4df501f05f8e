// What `verify` finds in a lane, and what `repair` does about it.
#pragma once

#include <string>
#include <vector>

#include "storage/recovery.hpp"

namespace quoit::inline v1::detail {

struct log_verification {
  u64 segments = 0;
  u64 messages = 0;
  u64 voids = 0;
  u64 payload_bytes = 0;
  u64 first_sequence = 0;
  u64 next_sequence = 0;
  u64 first_stamp = 0;
  u64 last_stamp = 0;
  u64 durable_position = 0;
  bool held = false;                // a publisher has the lane: behind its end may be what it is writing
  std::vector<std::string> faults;  // where, and what

  bool whole() const noexcept { return faults.empty(); }
};

// Looks at every byte of a lane and changes none. Needs no lock: of a lane that is being written it sees what is there.
// Errors: not_found, no_permission, system. What is wrong with the lane is no error but a fault.
result<log_verification> verify_lane(const std::string& directory);

// Cuts the lane where it is not whole: of a segment the rest behind the first bad frame, of the lane what cannot be
// reached; gives it the index entries that are missing. Readers are told how many messages they miss. Errors: busy (a
// publisher holds it), not_found, no_permission, newer_version, system.
result<recovery_report> repair_lane(const std::string& directory);

}  // namespace quoit::inline v1::detail
