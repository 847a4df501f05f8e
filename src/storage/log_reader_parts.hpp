// What a log_reader keeps besides the words of its fast path, for the sources that it is made of.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "quoit/detail/log_reader.hpp"
#include "storage/lane_clock.hpp"
#include "storage/log_lane.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

struct log_reader::parts {
  struct held_segment {
    std::shared_ptr<segment_file> file;
    u32 held;
  };

  log_lane lane;
  std::shared_ptr<segment_file> segment;
  std::shared_ptr<segment_file> next;  // opened, and not begun by its writer
  std::vector<held_segment> old;
  lane_clock clock;  // of `segment`
  std::string fault;
  bool oldest = false;  // a seek ended in the oldest segment that is there
  u64 walked_past = 0;  // messages that a seek found missing

  u64 end(u64 begin) const noexcept { return begin + segment->geometry.data_bytes; }
};

// What a start function looks for.
struct log_reader::by_key {
  enum class what : u8 { sequence, message, time } kind;
  u64 value;

  // True if everything before the place comes before what is looked for.
  bool not_behind(u64 sequence, u64 voids, u64 stamp) const noexcept {
    switch (kind) {
      case what::sequence: return sequence <= value;
      case what::message: return sequence - voids <= value;
      case what::time: break;
    }
    return stamp < value;
  }
};

}  // namespace quoit::inline v1::detail
