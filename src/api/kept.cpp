#include "quoit/kept.hpp"

#include "storage/lane_summary.hpp"
#include "storage/log_check.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1 {

using namespace detail;

namespace {

publishing_time time_of(u64 stamp) noexcept {
  return publishing_time(std::chrono::nanoseconds(static_cast<std::int64_t>(stamp)));
}

kept_lane_info lane_info_of(const std::string& directory, const std::string& publisher, const lane_summary& s) {
  kept_lane_info info;
  info.publisher = publisher;
  info.path = directory;
  info.held = s.held;
  info.pid = s.holder_pid;
  info.segments = s.segments;
  info.disk_bytes = s.disk_bytes;
  info.messages = s.messages;
  info.first_sequence = s.first_sequence;
  info.next_sequence = s.next_sequence;
  info.first_time = time_of(s.first_stamp);
  info.last_time = time_of(s.last_stamp);
  info.problem = s.problem;
  return info;
}

// A lane whose type is not known yet takes no part.
void note_type(kept_topic_info& topic, const lane_summary& s, bool& known) {
  if (s.type_alignment == 0) return;
  if (known) {
    if (topic.type_name != s.type_name || topic.type_fields != s.type_fields || topic.type_bytes != s.type_bytes) {
      topic.problem = "its publishers carry different types: " + topic.type_name + " and " + s.type_name;
    }
    return;
  }
  known = true;
  topic.type_name = s.type_name;
  topic.type_fields = s.type_fields;
  topic.type_bytes = s.type_bytes;
  topic.type_alignment = s.type_alignment;
}

struct lane_place {
  std::string topic;
  std::string publisher;
  std::string path;
};

// The lanes that are meant, sorted.
result<std::vector<lane_place>> places(const std::string& directory, std::string_view topic,
                                       std::string_view publisher) {
  std::string wanted;
  if (!topic.empty()) {
    auto name = checked_topic_name(topic);
    if (!name) return tl::unexpected(std::move(name.error()));
    wanted = std::move(*name);
  }
  if (!publisher.empty()) {
    if (auto named = check_lane_name(publisher); !named) return tl::unexpected(std::move(named.error()));
  }
  auto topics = list_topics_on_disk(directory);
  if (!topics) return tl::unexpected(std::move(topics.error()));
  std::vector<lane_place> found;
  bool any_topic = false;
  for (const std::string& name : *topics) {
    if (!wanted.empty() && name != wanted) continue;
    any_topic = true;
    const auto of_topic = open_topic_directory(directory, name);
    if (!of_topic) continue;  // removed meanwhile
    for (const std::string& lane : list_lanes(*of_topic)) {
      if (!publisher.empty() && lane != publisher) continue;
      const std::string path = lane_directory(directory, name, lane);
      if (is_lane_directory(path)) found.push_back({name, lane, path});
    }
  }
  if (!wanted.empty() && !any_topic) {
    return tl::unexpected(error(errc::not_found, "there is no topic " + wanted + " in " + directory));
  }
  if (!publisher.empty() && found.empty()) {
    return tl::unexpected(error(errc::not_found, "there is no publisher " + std::string(publisher) +
                                                     (wanted.empty() ? std::string() : " of topic " + wanted) + " in " +
                                                     directory));
  }
  return found;
}

std::vector<kept_fault> faults_of(std::vector<log_fault>&& found) {
  std::vector<kept_fault> faults;
  faults.reserve(found.size());
  for (log_fault& f : found) faults.push_back({std::move(f.words), std::move(f.path), f.byte, f.sequence});
  return faults;
}

kept_verification verify(const lane_place& where) {
  kept_verification out;
  out.topic = where.topic;
  out.publisher = where.publisher;
  out.path = where.path;
  auto v = verify_lane(where.path);
  if (!v) {
    out.problem = v.error().message();
    return out;
  }
  out.held = v->held;
  out.segments = v->segments;
  out.messages = v->messages;
  out.message_bytes = v->payload_bytes;
  out.missing = v->missing;
  out.skipped = v->skipped;
  out.first_sequence = v->first_sequence;
  out.next_sequence = v->next_sequence;
  out.first_time = time_of(v->first_stamp);
  out.last_time = time_of(v->messages != 0 ? v->last_stamp : 0);
  out.durable_sequence = v->durable_sequence;
  out.faults = faults_of(std::move(v->faults));
  out.remains = faults_of(std::move(v->remains));
  return out;
}

kept_repair repair(const lane_place& where, bool rehearse) {
  kept_repair out;
  out.topic = where.topic;
  out.publisher = where.publisher;
  out.path = where.path;
  auto report = repair_lane(where.path, rehearse);
  if (!report) {
    out.problem = report.error().message();
    return out;
  }
  out.messages = report->messages_verified;
  out.bytes_cut = report->bytes_cut;
  out.segments_cut = report->segments_cut;
  out.cut_sequence = report->cut_sequence;
  out.cuts = std::move(report->cuts);
  if (out.cuts.empty() && !report->cut.empty()) out.cuts.push_back(std::move(report->cut));
  out.mended = std::move(report->mended);
  return out;
}

}  // namespace

result<std::vector<kept_topic_info>> list_kept(const std::string& directory) {
  auto found = places(directory, {}, {});
  if (!found) return tl::unexpected(std::move(found.error()));
  std::vector<kept_topic_info> topics;
  bool type_known = false;
  for (const lane_place& where : *found) {
    if (topics.empty() || topics.back().name != where.topic) {
      topics.emplace_back().name = where.topic;
      type_known = false;
    }
    auto summary = summarize_lane(where.path);
    if (!summary) {
      // Removed meanwhile.
      if (summary.error() == errc::not_found) continue;
      kept_lane_info unread;
      unread.publisher = where.publisher;
      unread.path = where.path;
      unread.problem = summary.error().message();
      topics.back().lanes.push_back(std::move(unread));
      continue;
    }
    topics.back().lanes.push_back(lane_info_of(where.path, where.publisher, *summary));
    note_type(topics.back(), *summary, type_known);
  }
  return topics;
}

result<std::vector<kept_verification>> verify_kept(const std::string& directory, std::string_view topic,
                                                   std::string_view publisher) {
  auto found = places(directory, topic, publisher);
  if (!found) return tl::unexpected(std::move(found.error()));
  std::vector<kept_verification> all;
  for (const lane_place& where : *found) all.push_back(verify(where));
  return all;
}

result<std::vector<kept_repair>> repair_kept(const std::string& directory, std::string_view topic,
                                             std::string_view publisher, bool rehearse) {
  auto found = places(directory, topic, publisher);
  if (!found) return tl::unexpected(std::move(found.error()));
  std::vector<kept_repair> all;
  for (const lane_place& where : *found) all.push_back(repair(where, rehearse));
  return all;
}

}  // namespace quoit::inline v1
