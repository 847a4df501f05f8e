#include "topic/lane_file.hpp"

#include "base/segment_prefix.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

error corrupt_lane(const segment_store& store, const std::string& file, std::string_view what) {
  return error(errc::corrupt,
               store.path(file) + ": " + std::string(what) + ": stop the processes of the topic, and remove it");
}

result<new_lane> make_lane(segment_store& store, const std::string& temporary_prefix, std::string_view topic,
                           const lane_geometry& geometry) {
  const std::string of_topic = " of a lane of topic " + std::string(topic);
  auto slots = store.make(temporary_prefix, slots_bytes(geometry.subscriptions),
                          {"the slots" + of_topic, "limits.subscriptions_max"});
  if (!slots) return tl::unexpected(std::move(slots.error()));
  auto data = store.make(temporary_prefix, geometry.data_file_bytes(),
                         {"the ring" + of_topic, "publisher_options capacity_bytes"}, segment_content::lane_data);
  if (!data) {
    store.discard(*slots);
    return tl::unexpected(std::move(data.error()));
  }
  write_geometry(geometry, data->memory.object<lane_header>(), slots->memory.object<lane_slots>());
  return new_lane{std::move(*data), std::move(*slots), geometry};
}

result<lane_file> make_private_lane(const lane_geometry& geometry) {
  auto data = map_private(geometry.data_file_bytes());
  if (!data) return tl::unexpected(std::move(data.error()));
  auto slots = map_private(slots_bytes(geometry.subscriptions));
  if (!slots) return tl::unexpected(std::move(slots.error()));
  write_geometry(geometry, data->object<lane_header>(), slots->object<lane_slots>());
  return lane_file{std::move(*data), std::move(*slots), geometry};
}

void discard_lane(segment_store& store, const new_lane& lane) noexcept {
  store.discard(lane.data);
  store.discard(lane.slots);
}

result<lane_file> place_lane(segment_store& store, new_lane lane, const std::string& topic_file, u64 generation,
                             const shm_permissions& permissions) {
  // Under the topic's lock, and with a generation that was never used: nothing has these names.
  const auto taken = [](const std::string& name) {
    return error(errc::corrupt, name + " is there already: remove it");
  };
  const std::string slots_name = lane_slots_file_name(topic_file, generation);
  auto slots = store.place(lane.slots, slots_name, permissions);
  if (!slots || !*slots) {
    store.discard(lane.data);
    return tl::unexpected(slots ? taken(slots_name) : std::move(slots.error()));
  }
  const std::string data_name = lane_data_file(topic_file, generation);
  auto data = store.place(lane.data, data_name, permissions);
  if (!data || !*data) {
    store.remove(slots_name);
    return tl::unexpected(data ? taken(data_name) : std::move(data.error()));
  }
  return lane_file{std::move(lane.data.memory), std::move(lane.slots.memory), lane.geometry};
}

result<lane_slots_file> open_lane_slots(segment_store& store, const std::string& topic_file, u64 generation,
                                        access how) {
  const std::string name = lane_slots_file_name(topic_file, generation);
  auto memory = store.map(name, how);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  const u64 bytes = memory->bytes();
  if (bytes < slots_bytes(1)) return tl::unexpected(corrupt_lane(store, name, "it is shorter than a slot file"));
  const segment_prefix prefix = memory->object<lane_slots>().prefix;
  if (prefix.magic != slots_magic) return tl::unexpected(corrupt_lane(store, name, "it is no slot file"));
  if (prefix.layout_major != layout_major || prefix.required_features != 0) {
    return tl::unexpected(another_version(store.path(name), prefix));
  }
  if (prefix.entry_count > subscriptions_limit || bytes < slots_bytes(prefix.entry_count)) {
    return tl::unexpected(corrupt_lane(store, name, "it is shorter than its slots"));
  }
  return lane_slots_file{std::move(*memory), prefix.entry_count};
}

result<lane_file> open_lane(segment_store& store, const std::string& topic_file, u64 generation, access data_access,
                            access slots_access) {
  const std::string name = lane_data_file(topic_file, generation);
  auto slots = open_lane_slots(store, topic_file, generation, slots_access);
  if (!slots) return tl::unexpected(std::move(slots.error()));
  auto data = store.map(name, data_access);
  if (!data) return tl::unexpected(std::move(data.error()));
  const u64 bytes = data->bytes();
  if (bytes < lane_header_bytes) return tl::unexpected(corrupt_lane(store, name, "it is shorter than its header"));
  auto geometry = read_geometry(data->object<lane_header>(), bytes, slots->slots(), slots->memory.bytes());
  if (!geometry) {
    const error& why = geometry.error();
    if (why == errc::corrupt) return tl::unexpected(corrupt_lane(store, name, why.words()));
    return tl::unexpected(
        error(why.code(), store.path(name) + ": " + std::string(why.words()) + ": use one version of quoit on a bus"));
  }
  return lane_file{std::move(*data), std::move(slots->memory), *geometry};
}

bool is_gone(const error& why) noexcept {
  return why == errc::not_found || why == errc::corrupt || why == errc::newer_version;
}

void remove_lane(segment_store& store, const std::string& topic_file, u64 generation) {
  store.remove(lane_data_file(topic_file, generation));
  store.remove(lane_slots_file_name(topic_file, generation));
}

}  // namespace quoit::inline v1::detail
