#include "quoit/inspect.hpp"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/segment_prefix.hpp"
#include "mem/arena.hpp"
#include "quoit/inherited_memory.hpp"
#include "topic/names.hpp"
#include "topic/topic.hpp"
#include "transport/unix/meeting_place.hpp"

namespace quoit::inline v1 {

using namespace detail;

namespace {

// Nothing that is looked at waits for a lock.
constexpr std::chrono::nanoseconds looking_timeout{0};

const char* state_name(participant_state state) noexcept {
  switch (state) {
    case participant_state::active: return "active";
    case participant_state::closed: return "closed";
    case participant_state::dead: return "dead";
    default: return "unknown";
  }
}

result<std::vector<node_info>> read_nodes(segment_store& store, const std::string& file_name) {
  auto locks = store.open_locks(file_name, access::read);
  if (!locks) return tl::unexpected(std::move(locks.error()));
  auto memory = store.map(file_name, access::read);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  const u64 bytes = memory->bytes();
  const std::string path = store.path(file_name);
  const auto corrupt = [&] { return tl::unexpected(error(errc::corrupt, path + " is no bus")); };
  if (bytes < bus_bytes(1)) return corrupt();
  const segment_prefix prefix = memory->object<bus_header>().prefix;
  if (prefix.magic != bus_magic) return corrupt();
  if (prefix.layout_major != layout_major) {
    return tl::unexpected(another_version(path, prefix));
  }
  if (prefix.entry_bytes != sizeof(node_entry) || prefix.entry_count > nodes_limit ||
      bytes < bus_bytes(prefix.entry_count)) {
    return corrupt();
  }
  std::vector<node_info> nodes;
  for (u32 i = 0; i < prefix.entry_count; ++i) {
    const node_entry& entry = memory->object<node_entry>(bus_header_bytes + sizeof(node_entry) * i);
    // sync(node.record): whole, for whoever finds it in use
    if (load_acquire(entry.state) == 0) continue;
    node_info node;
    node.number = i;
    node.name.assign(entry.name, ::strnlen(entry.name, sizeof entry.name));
    node.pid = load_relaxed(entry.pid);          // relaxed: for people
    node.uid = load_relaxed(entry.uid);          // relaxed: for people
    node.sleeps = load_relaxed(entry.sleeps);    // relaxed: a counter
    node.late_wakes = load_relaxed(entry.late);  // relaxed: a counter
    node.vain_wakes = load_relaxed(entry.vain);  // relaxed: a counter
    const u32 rung = load_relaxed(entry.rung);   // relaxed: a hint
    node.rung = rung == sleeps_on_word ? rung::futex : rung == sleeps_on_pipe ? rung::pipe : rung::unspecified;
    node.alive = locks->held_by_other(static_cast<off_t>(node_lock_byte(i)), 1);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

// What the lane's files say about its publisher and its readers.
void read_lane(segment_store& store, const std::string& topic_file, u64 generation, publisher_info& publisher,
               std::vector<subscription_info>& subscriptions) {
  auto lane = open_lane(store, topic_file, generation, access::read, access::read);
  if (!lane) return;
  const lane_header& head = *lane->memory().head;
  publisher.capacity_bytes = lane->geometry.ring_bytes;
  publisher.message_bytes_max = lane->geometry.payload_bytes_max;
  // relaxed: counters
  publisher.messages = load_relaxed(head.published) - load_relaxed(head.voids);
  publisher.message_bytes = load_relaxed(head.payload_bytes);  // relaxed: a counter
  publisher.refused = load_relaxed(head.refused);              // relaxed: a counter
  publisher.wakes = load_relaxed(head.wakes);                  // relaxed: a counter
  for (subscription_info& subscription : subscriptions) {
    if (subscription.number >= lane->geometry.subscriptions) continue;
    const lane_slot& slot = lane->memory().slot_table->slot[subscription.number];
    subscription.received += load_relaxed(slot.received);  // relaxed: a counter
    subscription.lost += load_relaxed(slot.lost);          // relaxed: a counter
  }
}

std::optional<topic_info> read_topic(segment_store& store, const std::string& name, const std::string& file) {
  topic_info info;
  info.name = name;
  auto control = topic::look(store, file);
  if (!control) {
    // It went while we looked.
    if (control.error() == errc::not_found) return std::nullopt;
    info.problem = control.error().message();
    return info;
  }
  info.type_name = control->type_name();
  info.type_fields = control->type_fields();
  info.type_bytes = control->type_bytes();
  info.type_alignment = control->type_alignment();
  auto storage = control->storage();
  if (!storage && storage.error() == errc::not_found) return std::nullopt;
  if (storage) {
    info.directory = std::move(storage->place.directory);
  } else {
    info.problem = storage.error().message();
  }
  for (u32 i = 0; i < control->subscriptions(); ++i) {
    const subscription_entry& entry = control->subscription(i);
    if (control->state(entry) != participant_state::active) continue;
    subscription_info subscription;
    subscription.number = i;
    subscription.node = topic::owner_of(entry).index;
    subscription.mode = static_cast<mode>(load_relaxed(entry.mode));  // relaxed: ordered by state()
    subscription.samples_max = load_relaxed(entry.samples_max);       // relaxed: ordered by state()
    info.subscriptions.push_back(subscription);
  }
  for (u32 i = 0; i < control->publishers(); ++i) {
    const publisher_entry& entry = control->publisher(i);
    if (control->state(entry) == participant_state::free) continue;
    publisher_info publisher;
    publisher.number = i;
    publisher.node = topic::owner_of(entry).index;
    publisher.state = state_name(control->state(entry));
    publisher.policy = static_cast<policy>(load_relaxed(entry.policy));  // relaxed: ordered by state()
    publisher.lane = load_relaxed(entry.lane_generation);                // relaxed: ordered by state()
    publisher.name = topic::lane_name_of(entry);
    if (!topic::is_on_disk(entry)) read_lane(store, file, publisher.lane, publisher, info.subscriptions);
    info.publishers.push_back(std::move(publisher));
  }
  return info;
}

void read_topics(segment_store& store, bus_info& info) {
  const auto files = store.list(topic_file_prefix(info.name));
  if (!files && info.problem.empty()) info.problem = files.error().message();
  for (const std::string& file : files ? *files : std::vector<std::string>()) {
    const std::string topic = topic_of_file(info.name, file);
    if (topic.empty()) continue;
    if (auto seen = read_topic(store, topic, file)) info.topics.push_back(std::move(*seen));
  }
  std::sort(info.topics.begin(), info.topics.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
}

template <std::size_t N>
std::string text_of(const char (&text)[N]) {
  return std::string(text, ::strnlen(text, N));
}

topic_info topic_of_place(const place_info& place) {
  topic_info info;
  info.transport = transport::kernel;
  info.name = text_of(place.topic.name);
  info.type_name = text_of(place.topic.type_name);
  info.type_fields = text_of(place.topic.type_fields);
  info.type_bytes = place.topic.type_bytes;
  info.type_alignment = place.topic.type_alignment;
  for (const member_record& m : place.members) {
    if (m.role == member_role::publisher) {
      publisher_info p;
      p.number = static_cast<std::uint32_t>(info.publishers.size());
      p.state = "active";
      p.policy = static_cast<policy>(m.policy);
      p.capacity_bytes = m.capacity_bytes;
      p.message_bytes_max = m.payload_bytes_max;
      p.messages = m.counted.messages;
      p.message_bytes = m.counted.message_bytes;
      p.refused = m.counted.refused;
      p.wakes = m.counted.sends;
      p.pid = m.pid;
      p.why = text_of(m.why);
      info.publishers.push_back(std::move(p));
    } else {
      subscription_info s;
      s.number = static_cast<std::uint32_t>(info.subscriptions.size());
      s.mode = static_cast<mode>(m.mode);
      s.samples_max = m.samples_max;
      s.received = m.counted.received;
      s.lost = m.counted.lost;
      s.pid = m.pid;
      s.why = text_of(m.why);
      info.subscriptions.push_back(std::move(s));
    }
  }
  return info;
}

}  // namespace

std::vector<error> list_obstacles() {
  std::vector<error> obstacles;
  if (auto ok = look_into_shm(); !ok) obstacles.push_back(std::move(ok.error()));
  // Where nobody was on the kernel path yet there is no directory, and that is no obstacle.
  if (auto sockets = sockets_directory(false); !sockets && sockets.error() != errc::not_found) {
    obstacles.push_back(std::move(sockets.error()));
  }
  return obstacles;
}

std::vector<std::string> list_buses() {
  const std::string prefix = bus_file("");
  std::vector<std::string> buses;
  const auto files = list_shm(prefix);
  for (const std::string& file : files ? *files : std::vector<std::string>()) {
    const std::string name = file.substr(prefix.size());
    if (check_bus_name(name)) buses.push_back(name);
  }
  for (const std::string& name : buses_with_sockets()) {
    if (check_bus_name(name)) buses.push_back(name);
  }
  std::sort(buses.begin(), buses.end());
  buses.erase(std::unique(buses.begin(), buses.end()), buses.end());
  return buses;
}

result<bus_info> inspect(std::string_view bus) {
  if (auto ok = check_bus_name(bus); !ok) return tl::unexpected(std::move(ok.error()));
  segment_store& store = *shm_store();
  bus_info info;
  info.name = bus;
  auto nodes = read_nodes(store, bus_file(bus));
  const auto places = list_meeting_places(info.name);
  if (nodes) {
    info.nodes = std::move(*nodes);
  } else if (places.empty()) {
    return tl::unexpected(std::move(nodes.error()));
  } else if (nodes.error() != errc::not_found) {
    info.problem = nodes.error().message();
  }
  for (const place_info& place : places) info.topics.push_back(topic_of_place(place));
  read_topics(store, info);
  return info;
}

result<bus_info> inspect(const inherited_memory& memory) {
  const std::shared_ptr<segment_store> store = arena_store(memory.arena_, looking_timeout);
  bus_info info;
  info.name = memory_bus_name;
  auto nodes = read_nodes(*store, bus_file(info.name));
  if (!nodes) return tl::unexpected(std::move(nodes.error()));
  info.nodes = std::move(*nodes);
  read_topics(*store, info);
  return info;
}

}  // namespace quoit::inline v1
