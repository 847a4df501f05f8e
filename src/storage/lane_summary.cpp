#include "storage/lane_summary.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "storage/frame_walk.hpp"
#include "storage/lane_header.hpp"

namespace quoit::inline v1::detail {

namespace {

struct begun_segment {
  std::shared_ptr<segment_file> file;
  segment_start start{};
};

// The first of `numbers` that its publisher has come to.
template <class Numbers>
begun_segment first_begun(const directory_handle& where, const Numbers& numbers, std::string& problem) {
  for (const u64 number : numbers) {
    auto segment = open_segment(where, number, access::read);
    if (!segment) {
      // Retention may have taken it meanwhile.
      if (segment.error() != errc::not_found && problem.empty()) problem = segment.error().words();
      continue;
    }
    segment_start start{};
    if ((*segment)->read_start(start)) return {std::move(*segment), start};
  }
  return {};
}

bool is_frame(step_kind kind) noexcept {
  return kind == step_kind::message || kind == step_kind::voided || kind == step_kind::skip;
}

// Of the first message in the segment; 0 if there is none.
u64 first_stamp_in(const begun_segment& s) noexcept {
  log_place place{s.start.position, s.start.sequence, s.start.voids, s.start.stamp};
  for (;;) {
    const frame_step step = look_at_frame(*s.file, s.start.position, place, !s.file->of_this_boot);
    if (step.kind == step_kind::message) return step.stamp;
    if (!is_frame(step.kind)) return 0;
    place = behind(place, step);
  }
}

log_place end_of(const begun_segment& s) noexcept {
  log_place place = place_from_index(*s.file, s.start, [](const segment_index_entry&) { return true; });
  for (;;) {
    const frame_step step = look_at_frame(*s.file, s.start.position, place, !s.file->of_this_boot);
    if (!is_frame(step.kind)) return place;
    place = behind(place, step);
  }
}

bool is_lane(const directory_handle& where) {
  struct stat status{};
  return where.find(lane_file_name, status) || !list_segments(where).empty();
}

bool has_lanes(const directory_handle& topic) {
  for (const std::string& name : list_lanes(topic)) {
    const auto lane = topic.open_directory(name);
    if (lane && is_lane(*lane)) return true;
  }
  return false;
}

}  // namespace

bool is_lane_directory(const std::string& directory) {
  const auto where = directory_handle::open(directory);
  return where && is_lane(*where);
}

result<lane_summary> summarize_lane(const std::string& directory) {
  lane_summary out;
  const auto where = directory_handle::open(directory);
  if (!where) return tl::unexpected(where.error());
  int unread = 0;
  const std::vector<u64> numbers = list_segments(*where, false, &unread);
  if (unread != 0) return tl::unexpected(storage_call_failed("reading the directory", directory, unread));
  auto lane = open_lane_directory(*where);
  if (lane) {
    // relaxed: for people
    out.holder_pid = static_cast<u32>(load_relaxed(lane->header().holder_pid));
  } else {
    if (lane.error() == errc::no_permission || numbers.empty()) return tl::unexpected(std::move(lane.error()));
    out.problem = lane.error().message();
  }
  out.held = lane_is_held(*where).value_or(false);
  out.segments = numbers.size();
  for (const u64 number : numbers) {
    struct stat status{};
    if (!where->find(segment_name(number), status)) continue;
    out.disk_bytes += static_cast<u64>(status.st_blocks) * 512;
  }
  const begun_segment first = first_begun(*where, numbers, out.problem);
  if (!first.file) return out;
  const segment_header& head = first.file->header();
  out.type_name = stored_text(head.type_name);
  out.type_fields = stored_text(head.type_fields);
  out.type_bytes = head.type_bytes;
  out.type_alignment = first.file->geometry.payload_alignment;
  out.first_sequence = first.start.sequence;
  out.first_stamp = first_stamp_in(first);
  const std::vector<u64> backwards(numbers.rbegin(), numbers.rend());
  const begun_segment last = first_begun(*where, backwards, out.problem);
  if (!last.file) return out;
  const log_place end = end_of(last);
  out.next_sequence = end.sequence;
  if (lane && !out.held) {
    if (missing_end missing = compare_with_records(*lane, last.file->number, end); missing.was_safe) {
      out.problem = missing.words + ": what was behind that is missing";
    }
  }
  const u64 messages_before = first.start.sequence - first.start.voids;
  out.messages = std::max(end.sequence - end.voids, messages_before) - messages_before;
  if (out.messages != 0) out.last_stamp = end.stamp;
  return out;
}

result<std::vector<std::string>> list_topics_on_disk(const std::string& root) {
  const auto where = directory_handle::open(root);
  if (!where) return tl::unexpected(where.error());
  std::vector<std::string> topics;
  const bool read = where->for_each_name([&](const std::string& name) {
    if (name.front() == '.') return;
    const auto topic = where->open_directory(name);
    if (!topic || !has_lanes(*topic)) return;
    topics.push_back(name);
    std::replace(topics.back().begin(), topics.back().end(), '+', '/');
  });
  if (!read) return tl::unexpected(storage_call_failed("reading the directory", root, errno));
  if (topics.empty() && (has_lanes(*where) || is_lane(*where))) {
    return tl::unexpected(error(errc::invalid_argument,
                                root + " is the directory of a topic, or of a publisher in it: name the one above, "
                                       "which the publishers name"));
  }
  std::sort(topics.begin(), topics.end());
  return topics;
}

}  // namespace quoit::inline v1::detail
