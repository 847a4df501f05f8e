#include "bus/places.hpp"

#include "storage/kept_reader.hpp"
#include "storage/log_lane.hpp"

namespace quoit::inline v1::detail {

result<topic_place> place_asked_for(std::string_view directory, const std::string& topic) {
  auto there = find_topic_directory(std::string(directory), topic);
  if (there) return topic_place{std::move(there->root), there->topic.device, there->topic.inode};
  if (there.error() == errc::not_found) return topic_place{std::string(directory), 0, 0};
  return tl::unexpected(std::move(there.error()));
}

result<void> measured_ends::measure(const std::string& directory, const std::string& topic) {
  auto reader = kept_reader::open(directory, topic, std::nullopt, 1, start::latest);
  if (!reader) return tl::unexpected(std::move(reader.error()));
  text_ = (*reader)->position().to_string();
  measured_ = wanted_;
  return {};
}

}  // namespace quoit::inline v1::detail
