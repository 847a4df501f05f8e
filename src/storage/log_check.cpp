#include "storage/log_check.hpp"

#include <map>

#include "storage/frame_walk.hpp"

namespace quoit::inline v1::detail {

namespace {

class verification {
 public:
  explicit verification(const log_lane& lane) : lane_(lane) {
    out_.held = lane_is_held(lane.directory);
    out_.durable_position = known_durable(lane.header());
    // relaxed: only asked of a lane that nobody writes
    if (!out_.held && out_.durable_position == 0 && load_relaxed(lane.header().durable_check) != 0) {
      fault(lane.directory + "/lane: the check of its durable position is wrong");
    }
  }

  log_verification run() {
    const std::vector<u64> numbers = list_segments(lane_.directory);
    out_.segments = numbers.size();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const bool last = i + 1 == numbers.size();
      if (i > 0 && numbers[i] != numbers[i - 1] + 1) {
        gap_ = true;
        fault(lane_.directory + ": segment " + std::to_string(numbers[i - 1] + 1) + " is missing");
      }
      auto segment = open_segment(lane_.directory, numbers[i], access::read);
      if (!segment) {
        // Retention may have taken it meanwhile.
        if (segment.error() != errc::not_found) fault(std::string(segment.error().words()));
        gap_ = true;
        continue;
      }
      look_at(**segment, last);
    }
    out_.next_sequence = place_.sequence;
    out_.last_stamp = place_.stamp;
    return std::move(out_);
  }

 private:
  void fault(const std::string& words) { out_.faults.push_back(words); }
  void fault(const segment_file& segment, u64 offset, const std::string& words) {
    fault(segment.path + " at byte " + std::to_string(segment.geometry.data_offset + offset) + " (sequence " +
          std::to_string(place_.sequence) + "): " + words);
  }

  void look_at(const segment_file& segment, bool last) {
    const log_lane_header& lane = lane_.header();
    if (!std::equal(lane.lane_id, lane.lane_id + 2, segment.header().lane_id)) {
      gap_ = true;
      return fault(segment.path + ": is of another lane");
    }
    segment_start start{};
    if (!segment.read_start(start)) {
      if (start.check != 0) fault(segment.path + ": its start record is wrong");
      if (start.check == 0) unstarted_.push_back(segment.path);
      if (start.check == 0 && !out_.held && !zero_from(segment, 0)) fault(segment, 0, "frames without a start record");
      gap_ = true;
      return;
    }
    // Segments that were made ahead come last.
    for (const std::string& path : unstarted_) fault(path + ": its start record is missing");
    unstarted_.clear();
    const bool follows = start.position == place_.position && start.sequence == place_.sequence &&
                         start.voids == place_.voids && rolled_;
    if (seen_ && !gap_ && !follows && start.after_failure == 0) {
      fault(segment.path + ": does not begin where the segment before it ends");
    }
    if (!seen_) {
      out_.first_sequence = start.sequence;
      out_.first_stamp = 0;
    }
    look_at_gaps(segment);
    gap_ = false;
    place_ = {start.position, start.sequence, start.voids, start.stamp};
    const auto places = walk(segment, start, last);
    look_at_index(segment, places);
    seen_ = true;
  }

  // What belongs to nobody is zero.
  void look_at_gaps(const segment_file& segment) {
    const u64 index_end = segment_header_bytes + sizeof(segment_index_entry) * segment.geometry.index_entries;
    const u64 data_end = segment.geometry.data_offset + segment.geometry.data_bytes;
    const std::pair<u64, u64> gaps[] = {
        {offsetof(segment_header, check) + word_bytes, offsetof(segment_header, start)},
        {offsetof(segment_header, start) + sizeof(segment_start), segment_header_bytes},
        {index_end, segment.geometry.data_offset},
        {data_end, segment.geometry.segment_bytes},
    };
    for (const auto& [begin, end] : gaps) {
      for (u64 at = begin; at < end; ++at) {
        if (segment.memory.data()[at] == std::byte{}) continue;
        fault(segment.path + " at byte " + std::to_string(at) + ": not zero where nothing is written");
        break;
      }
    }
  }

  // Offset of each first place of a part, and what the index has to say of it.
  using part_places = std::map<u64, log_place>;

  part_places walk(const segment_file& segment, const segment_start& start, bool last) {
    part_places first;
    rolled_ = false;
    for (;;) {
      const u64 offset = place_.position - start.position;
      const frame_step step = look_at_frame(segment, start.position, place_, true);
      if (step.kind != step_kind::rolled && offset + word_bytes <= segment.geometry.data_bytes) {
        first.try_emplace(offset >> segment.geometry.index_shift, place_);
      }
      switch (step.kind) {
        case step_kind::message:
          if (out_.first_stamp == 0) out_.first_stamp = step.stamp;
          ++out_.messages;
          out_.payload_bytes += step.header.payload_bytes();
          break;
        case step_kind::voided: ++out_.voids; break;
        case step_kind::skip: break;
        case step_kind::rolled:
          place_.position += step.length;
          rolled_ = true;
          return first;
        case step_kind::claimed:
          if (!out_.held) fault(segment, offset, "a loan of a publisher that is dead (the next one makes it void)");
          if (!last) fault(segment, offset, "a loan before another segment");
          return first;
        case step_kind::end:
          if (!out_.held && !zero_from(segment, offset)) fault(segment, offset, "bytes behind the end");
          return first;
        case step_kind::newer: fault(segment, offset, "a frame of a later version"); return first;
        case step_kind::bad: fault(segment, offset, step.reason); return first;
      }
      place_ = behind(place_, step);
    }
  }

  void look_at_index(const segment_file& segment, const part_places& places) {
    for (u32 part = 0; part < segment.geometry.index_entries; ++part) {
      segment_index_entry entry{};
      if (!read_entry(segment, part, entry)) {
        const segment_index_entry& there = segment.entry(part);
        const bool empty = (there.sequence | there.voids | there.stamp) == 0;
        const char* const how = entry.place != 0 ? " is wrong" : " is not finished";
        // One that is being written has no place yet.
        if (entry.place != 0 || (!empty && !out_.held))
          fault(segment.path + ": index entry " + std::to_string(part) + how);
        continue;
      }
      const auto found = places.find(part);
      if (found == places.end()) continue;  // of a live end that moved on, or behind a fault that was named
      const log_place& place = found->second;
      const bool right = place.sequence == entry.sequence ? place.voids == entry.voids && place.stamp == entry.stamp
                                                          : place.sequence < entry.sequence;
      if (!right) fault(segment.path + ": index entry " + std::to_string(part) + " is of another place");
    }
  }

  static bool zero_from(const segment_file& segment, u64 offset) noexcept {
    const std::byte* const data = segment.data();
    for (u64 at = offset; at < segment.geometry.data_bytes; ++at) {
      if (data[at] != std::byte{}) return false;
    }
    return true;
  }

  const log_lane& lane_;
  log_verification out_;
  log_place place_;
  std::vector<std::string> unstarted_;
  bool seen_ = false;
  bool gap_ = false;
  bool rolled_ = true;
};

}  // namespace

result<log_verification> verify_lane(const std::string& directory) {
  auto lane = open_lane_directory(directory);
  if (!lane) {
    if (lane.error() != errc::corrupt && lane.error() != errc::newer_version) {
      return tl::unexpected(std::move(lane.error()));
    }
    log_verification out;
    out.faults.emplace_back(lane.error().words());
    return out;
  }
  return verification(*lane).run();
}

result<recovery_report> repair_lane(const std::string& directory) {
  auto lane = open_lane_directory_to_write(directory);
  if (!lane) return tl::unexpected(std::move(lane.error()));
  auto recovered = recover_lane(*lane, true, true, storage_calls::of_system());
  if (!recovered) return tl::unexpected(std::move(recovered.error()));
  return std::move(recovered->report);
}

}  // namespace quoit::inline v1::detail
