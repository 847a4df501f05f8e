#include "topic/names.hpp"

#include <algorithm>

#include "quoit/detail/topic_layout.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr std::size_t bus_name_bytes_max = 32;

bool alphanumeric(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool in_bus_name(char c) noexcept { return alphanumeric(c) || c == '_' || c == '-'; }
bool in_topic_name(char c) noexcept { return in_bus_name(c) || c == '.' || c == '~' || c == '/'; }

// A name may hold anything: what is shown of it is short and printable.
std::string shown(std::string_view name) {
  std::string text = "\"";
  for (const char c : name.substr(0, 200)) text += c >= ' ' && c <= '~' ? c : '?';
  return text + (name.size() > 200 ? "...\"" : "\"");
}

}  // namespace

result<void> check_bus_name(std::string_view name) {
  if (name.empty() || name.size() > bus_name_bytes_max || !std::all_of(name.begin(), name.end(), in_bus_name)) {
    return tl::unexpected(error(errc::invalid_name, "bus " + shown(name) + " (" + std::to_string(name.size()) +
                                                        " bytes): a bus is named by 1 to 32 of [A-Za-z0-9_-]"));
  }
  return {};
}

result<std::string> checked_topic_name(std::string_view name) {
  std::string_view bare = name;
  if (bare.starts_with('/')) bare.remove_prefix(1);
  const bool empty_component =
      bare.starts_with('/') || bare.ends_with('/') || bare.find("//") != std::string_view::npos;
  if (bare.empty() || bare.size() > topic_name_bytes_max || empty_component ||
      !std::all_of(bare.begin(), bare.end(), in_topic_name)) {
    return tl::unexpected(
        error(errc::invalid_name, "topic " + shown(name) + " (" + std::to_string(name.size()) +
                                      " bytes): a topic is named by 1 to 160 of [A-Za-z0-9_.~/-] with no empty "
                                      "component, and may begin with '/'"));
  }
  return std::string(bare);
}

std::string bus_file(std::string_view bus) { return "quoit." + std::string(bus); }

std::string bus_temporary_prefix(std::string_view bus) { return bus_file(bus) + "@tmp-"; }

std::string bell_file_prefix(std::string_view bus) { return bus_file(bus) + "@bell-"; }

std::string bell_file(std::string_view bus, std::uint32_t node, std::uint64_t generation, std::uint32_t pipe) {
  const std::string of_node = bell_file_prefix(bus) + std::to_string(node) + "-" + std::to_string(generation);
  return pipe == 0 ? of_node : of_node + "-" + std::to_string(pipe);
}

std::string topic_file_prefix(std::string_view bus) { return bus_file(bus) + "."; }

std::string topic_file(std::string_view bus, std::string_view topic) {
  std::string file = topic_file_prefix(bus) + std::string(topic);
  std::replace(file.begin(), file.end(), '/', '+');
  return file;
}

std::string lane_data_file(std::string_view topic_file, std::uint64_t generation) {
  return std::string(topic_file) + "@" + std::to_string(generation);
}

std::string lane_slots_file_name(std::string_view topic_file, std::uint64_t generation) {
  return lane_data_file(topic_file, generation) + "s";
}

std::string storage_record_file(std::string_view topic_file, std::uint64_t generation) {
  return lane_data_file(topic_file, generation) + "d";
}

std::string topic_of_file(std::string_view bus, std::string_view file) {
  const std::string prefix = topic_file_prefix(bus);
  if (!file.starts_with(prefix) || file.find('@') != std::string_view::npos) return {};
  std::string topic(file.substr(prefix.size()));
  std::replace(topic.begin(), topic.end(), '+', '/');
  return topic;
}

}  // namespace quoit::inline v1::detail
