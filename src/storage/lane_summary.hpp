// What is in a lane, without reading it all.
#pragma once

#include <string>

#include "storage/log_lane.hpp"

namespace quoit::inline v1::detail {

struct lane_summary {
  bool held = false;   // a publisher has the lane
  u32 holder_pid = 0;  // of the last publisher, in its own pid namespace
  u64 segments = 0;    // with those that were made ahead
  u64 disk_bytes = 0;  // that their files take
  u64 messages = 0;    // with those that a repair gave up in between
  u64 first_sequence = 0;
  u64 next_sequence = 0;
  u64 first_stamp = 0;  // 0: there is no message
  u64 last_stamp = 0;
  std::string type_name;
  std::string type_fields;
  u32 type_bytes = 0;
  u32 type_alignment = 0;
  std::string problem;  // why the rest is not known, if it is not
};

// Whether a directory is one of a lane: it has the lane's file, or a segment.
bool is_lane_directory(const std::string& directory);

// Looks at the first segment, and at the last part of the last one. Errors: not_found, no_permission, system.
result<lane_summary> summarize_lane(const std::string& directory);

// The directories of topics in a directory, sorted, as the names of the topics. Errors: not_found, no_permission,
// system; invalid_argument (it is itself the directory of a topic, or of a lane).
result<std::vector<std::string>> list_topics_on_disk(const std::string& root);

}  // namespace quoit::inline v1::detail
