#include "storage/log_check.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/random.hpp"
#include "storage/frame_walk.hpp"
#include "storage/lane_header.hpp"
#include "storage/segment_mending.hpp"

namespace quoit::inline v1::detail {

namespace {

using lane_id = std::array<u64, 2>;

lane_id id_of(const log_lane_header& header) noexcept { return {header.lane_id[0], header.lane_id[1]}; }

// Whose the segments of a directory are: that of the lane's file if any of them says so, or else what most of them say;
// nothing if none can be asked.
std::optional<lane_id> id_that_counts(const directory_handle& where, const log_lane* lane) {
  std::map<lane_id, u64> votes;
  for (const u64 number : list_segments(where)) {
    if (auto segment = open_segment(where, number, access::read)) {
      const segment_header& head = (*segment)->header();
      ++votes[{head.lane_id[0], head.lane_id[1]}];
    }
  }
  if (lane != nullptr && (votes.empty() || votes.contains(id_of(lane->header())))) return id_of(lane->header());
  const auto most =
      std::max_element(votes.begin(), votes.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most == votes.end()) return std::nullopt;
  return most->first;
}

// What is wrong with the lane's own file, where segments can still say whose they are; empty: nothing.
result<std::string> fault_of_lane_file(const directory_handle& where, const result<log_lane>& lane) {
  if (lane) {
    if (id_that_counts(where, &*lane) == id_of(lane->header())) return std::string();
    return where.path_of(lane_file_name) + ": is the file of another lane than the segments are of";
  }
  if (lane.error() == errc::not_found) {
    if (list_segments(where).empty()) return tl::unexpected(lane.error());
    return where.path_of(lane_file_name) + ": is missing";
  }
  if (lane.error() == errc::corrupt || lane.error() == errc::newer_version) return std::string(lane.error().words());
  return tl::unexpected(lane.error());
}

class verification {
 public:
  explicit verification(const log_lane& lane) : lane_(lane) {
    out_.held = lane_is_held(lane.where).value_or(false);
    out_.durable_position = known_durable(lane.header());
    if (!out_.held && is_durable_wrong(lane.header())) {
      fault_of_lane_file(lane.where.path_of(lane_file_name) + ": the check of its durable position is wrong");
    }
  }

  // Said before anything else.
  void fault_of_lane_file(const std::string& words) {
    out_.faults.push_back({words, lane_.where.path_of(lane_file_name), 0, 0});
  }

  log_verification run() {
    const std::vector<u64> numbers = list_segments(lane_.where);
    out_.segments = numbers.size();
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (i > 0 && numbers[i] != numbers[i - 1] + 1) {
        gap_ = true;
        if (!is_passed_over(numbers[i]))
          fault(lane_.where.path(), "segment " + std::to_string(numbers[i - 1] + 1) + " is missing");
      }
      auto segment = open_segment(lane_.where, numbers[i], access::read);
      if (!segment) {
        // Retention may have taken it meanwhile.
        if (segment.error() != errc::not_found) {
          const std::string path = lane_.where.path_of(segment_name(numbers[i]));
          out_.faults.push_back({std::string(segment.error().words()), path, 0, place_.sequence});
        }
        gap_ = true;
        continue;
      }
      look_at(**segment);
    }
    // Where the rest of a segment is bad, that was said.
    log_place end = place_;
    if (!ends_well_) end.position = ~u64{0};
    if (!out_.held) {
      if (const missing_end missing = compare_with_records(lane_, last_begun_, end); !missing.words.empty()) {
        out_.faults.push_back(
            {missing.words + ": what was behind that is missing", lane_.where.path(), 0, place_.sequence});
      }
    }
    out_.next_sequence = place_.sequence;
    out_.last_stamp = place_.stamp;
    return std::move(out_);
  }

 private:
  // Whether a segment says that what is before it was given up.
  bool is_passed_over(u64 number) const {
    auto segment = open_segment(lane_.where, number, access::read);
    segment_start start{};
    return segment && (*segment)->read_start(start) && start.after_failure != 0;
  }

  void fault(const std::string& path, const std::string& words) {
    out_.faults.push_back({path + ": " + words, path, 0, place_.sequence});
  }
  log_fault place_in(const segment_file& segment, u64 offset, const std::string& words) const {
    const u64 byte = segment.geometry.data_offset + offset;
    return {segment.path + " at byte " + std::to_string(byte) + " (sequence " + std::to_string(place_.sequence) +
                "): " + words,
            segment.path, byte, place_.sequence};
  }
  void fault(const segment_file& segment, u64 offset, const std::string& words) {
    out_.faults.push_back(place_in(segment, offset, words));
  }
  // What was written in this boot is what its publisher stored, whether it was killed or not.
  void remains(const segment_file& segment, u64 offset, const std::string& words) {
    (segment.of_this_boot ? out_.remains : out_.faults).push_back(place_in(segment, offset, words));
  }

  void look_at(const segment_file& segment) {
    const log_lane_header& lane = lane_.header();
    if (!std::equal(lane.lane_id, lane.lane_id + 2, segment.header().lane_id)) {
      gap_ = true;
      return fault(segment.path, "is of another lane");
    }
    if (is_clock_wrong(segment)) fault(segment.path, "the record of its clock is wrong");
    segment_start start{};
    if (!segment.read_start(start)) {
      if (start.check != 0) fault(segment.path, "its start record is wrong");
      if (start.check == 0) unstarted_.push_back(segment.path);
      // S5: it is written when everything before is resolved.
      if (start.check == 0 && !out_.held && !zero_from(segment, 0)) {
        remains(segment, 0, "frames without a start record");
      }
      gap_ = true;
      return;
    }
    // Segments that were made ahead come last.
    for (const std::string& path : unstarted_) fault(path, "its start record is missing");
    unstarted_.clear();
    // S5 again. Segments that were not begun may follow a loan: those made ahead, and those it hides.
    if (loan_) out_.faults.push_back(*std::exchange(loan_, std::nullopt));
    const bool follows = start.position == place_.position && follows_on(start, place_) && rolled_;
    if (seen_ && start.epoch_begin == start.sequence) out_.skipped += start.sequence - place_.sequence;
    if (seen_ && !gap_ && !follows && start.after_failure == 0) {
      fault(segment.path, "does not begin where the segment before it ends");
    }
    // Voids among them may have been lost too: those of which it is not known were messages.
    if (seen_ && start.sequence > place_.sequence) {
      const u64 voids = start.voids > place_.voids ? start.voids - place_.voids : 0;
      out_.missing += start.sequence - place_.sequence - std::min(voids, start.sequence - place_.sequence);
    }
    if (!seen_) {
      out_.first_sequence = start.sequence;
      out_.first_stamp = 0;
    }
    look_at_gaps(segment);
    gap_ = false;
    last_begun_ = segment.number;
    place_ = {start.position, start.sequence, start.voids, start.stamp};
    const auto places = walk(segment, start);
    look_at_index(segment, places);
    seen_ = true;
  }

  // What belongs to nobody is zero.
  void look_at_gaps(const segment_file& segment) {
    for (const auto& [begin, end] : segment_gaps(segment)) {
      for (u64 at = begin; at < end; ++at) {
        if (segment.memory.data()[at] == std::byte{}) continue;
        out_.faults.push_back({segment.path + " at byte " + std::to_string(at) + ": not zero where nothing is written",
                               segment.path, at, place_.sequence});
        break;
      }
    }
  }

  // Offset of each first place of a part, and what the index has to say of it.
  using part_places = std::map<u64, log_place>;

  part_places walk(const segment_file& segment, const segment_start& start) {
    part_places first;
    rolled_ = ends_well_ = false;
    for (;;) {
      const u64 offset = place_.position - start.position;
      const frame_step step = look_at_frame(segment, start.position, place_, true);
      end_offset_ = offset;
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
          if (place_.position <= out_.durable_position) out_.durable_sequence = place_.sequence;
          rolled_ = ends_well_ = true;
          return first;
        case step_kind::claimed:
          if (!out_.held) remains(segment, offset, "a loan that was not published");
          loan_ = place_in(segment, offset, "a loan before another segment");
          ends_well_ = true;
          return first;
        case step_kind::end:
          look_behind_end(segment, offset);
          ends_well_ = true;
          return first;
        case step_kind::newer: fault(segment, offset, "a frame of a later version"); return first;
        case step_kind::bad: fault(segment, offset, step.reason); return first;
      }
      place_ = behind(place_, step);
      if (place_.position <= out_.durable_position) out_.durable_sequence = place_.sequence;
    }
  }

  // S2: the payload of the newest loan may lie there, and nothing else.
  void look_behind_end(const segment_file& segment, u64 offset) {
    if (out_.held || zero_from(segment, offset)) return;
    const segment_geometry& g = segment.geometry;
    if (zero_from(segment, std::min(offset + g.extent(g.payload_bytes_max), g.data_bytes))) {
      remains(segment, offset, "bytes of a loan behind the end");
    } else {
      fault(segment, offset, "bytes behind the end");
    }
  }

  log_fault entry_fault(const segment_file& segment, u32 part, const char* words) const {
    return {segment.path + ": index entry " + std::to_string(part) + words, segment.path,
            segment_header_bytes + sizeof(segment_index_entry) * part, place_.sequence};
  }

  void look_at_index(const segment_file& segment, const part_places& places) {
    for (u32 part = 0; part < segment.geometry.index_entries; ++part) {
      segment_index_entry entry{};
      if (!read_entry(segment, part, entry)) {
        const segment_index_entry& there = segment.entry(part);
        const bool empty = (there.sequence | there.voids | there.stamp) == 0;
        const log_fault what = entry_fault(segment, part, entry.place != 0 ? " is wrong" : " is not finished");
        if (entry.place != 0) out_.faults.push_back(what);
        // One that is being written has no place yet.
        if (entry.place == 0 && !empty && !out_.held)
          (segment.of_this_boot ? out_.remains : out_.faults).push_back(what);
        continue;
      }
      const auto found = places.find(part);
      if (found == places.end()) {
        // Of a live end that moved on, or behind a fault that was named.
        if (out_.held || !ends_well_ || entry.offset() <= end_offset_) continue;
        const log_fault what = entry_fault(segment, part, " is of a place behind the end");
        // Before a failure of the power the disk may have taken the index and not the messages.
        (segment.of_this_boot ? out_.faults : out_.remains).push_back(what);
        continue;
      }
      const log_place& place = found->second;
      const bool right = place.sequence == entry.sequence ? place.voids == entry.voids && place.stamp == entry.stamp
                                                          : place.sequence < entry.sequence;
      if (!right) fault(segment.path, "index entry " + std::to_string(part) + " is of another place");
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
  std::optional<log_fault> loan_;  // not published, in the segment that was looked at last
  bool seen_ = false;
  bool gap_ = false;
  bool rolled_ = true;
  bool ends_well_ = true;  // the segment that was looked at last has no bad frame
  u64 end_offset_ = 0;     // where its frames end
  u64 last_begun_ = 0;
};

}  // namespace

result<log_verification> verify_lane(const std::string& directory) {
  const auto where = directory_handle::open(directory);
  if (!where) return tl::unexpected(where.error());
  // One that cannot be read is not empty.
  int unread = 0;
  list_segments(*where, false, &unread);
  if (unread != 0) return tl::unexpected(storage_call_failed("reading the directory", directory, unread));
  auto lane = open_lane_directory(*where);
  auto wrong = fault_of_lane_file(*where, lane);
  if (!wrong) return tl::unexpected(std::move(wrong.error()));
  if (!wrong->empty()) {
    const lane_id id = id_that_counts(*where, nullptr).value_or(lane_id{});
    const u64 words[2] = {id[0], id[1]};
    lane = imagine_lane(*where, words);
    if (!lane) return tl::unexpected(std::move(lane.error()));
  }
  verification v(*lane);
  if (!wrong->empty()) v.fault_of_lane_file(*wrong);
  return v.run();
}

result<recovery_report> repair_lane(const std::string& directory, bool rehearse) {
  const auto where = directory_handle::open(directory);
  if (!where) return tl::unexpected(where.error());
  auto lane = rehearse ? open_lane_directory(*where) : open_lane_directory_to_write(*where);
  if (!lane && lane.error() == errc::newer_version) return tl::unexpected(std::move(lane.error()));
  auto wrong = fault_of_lane_file(*where, lane);
  if (!wrong) return tl::unexpected(std::move(wrong.error()));
  if (rehearse && lane_is_held(*where).value_or(false)) {
    return tl::unexpected(error(errc::busy, directory + " is being written: a lane is repaired while nobody does"));
  }
  if (!wrong->empty()) {
    const auto random = random_id();
    const lane_id id = id_that_counts(*where, nullptr).value_or(lane_id{random[0], random[1]});
    const u64 words[2] = {id[0], id[1]};
    // Its lock is taken again with the new file.
    lane = tl::unexpected(error(errc::closed));
    lane = rehearse ? imagine_lane(*where, words) : renew_lane_file(*where, words);
    if (!lane) return tl::unexpected(std::move(lane.error()));
  }
  auto recovered = recover_lane(*lane, true, true, storage_calls::of_system(), rehearse);
  if (!recovered) return tl::unexpected(std::move(recovered.error()));
  recovery_report report = std::move(recovered->report);
  if (!wrong->empty()) report.mended.insert(report.mended.begin(), *wrong);
  return report;
}

}  // namespace quoit::inline v1::detail
