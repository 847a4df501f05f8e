// How a publisher comes by its lane.
#include <algorithm>
#include <bit>

#include "base/clock.hpp"
#include "base/random.hpp"
#include "bus/publisher_parts.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 capacity_default = 128 * 1024;

// Variable-size messages: the largest that a lane of this capacity takes.
u64 largest_message(lane_request request) {
  const u64 ring = std::bit_ceil(std::max(request.capacity_bytes, u64{1}));
  const u64 stride = ring / request.strides;
  const u64 frame = request.lossy_allowed ? stride - word_bytes : (ring - stride) / 2;
  const u64 alignment = std::max(request.frame_alignment, request.payload_alignment);
  const u64 overhead = payload_offset(request.stamped ? frame_stamped : u8{0});
  const u64 aligned = align_down(frame, alignment);
  return aligned > overhead ? aligned - overhead : 0;
}

bool wants_reliable(const subscription_entry& entry, bool overwrites) {
  const auto asked = static_cast<mode>(load_relaxed(entry.mode));  // relaxed: under the topic's lock
  return !overwrites && asked != mode::lossy;
}

error conflict(const std::string& topic, const char* words) {
  return error(errc::policy_conflict, "topic " + topic + ": " + words);
}

result<void> check_subscriptions(const topic& control, const lane_geometry& geometry) {
  for (u32 i = 0; i < control.subscriptions(); ++i) {
    const subscription_entry& entry = control.subscription(i);
    if (control.state(entry) != participant_state::active) continue;
    const auto asked = static_cast<mode>(load_relaxed(entry.mode));  // relaxed: under the topic's lock
    if (asked == mode::reliable && !geometry.reliable_allowed) {
      return tl::unexpected(conflict(control.name(),
                                     "a subscription asks for mode reliable, which no overwriting publisher can "
                                     "give; publish with policy block or fail, or subscribe with mode automatic"));
    }
    if (asked == mode::lossy && !geometry.lossy_allowed) {
      return tl::unexpected(conflict(control.name(),
                                     "a subscription asks for mode lossy, which a publisher with "
                                     "lossy_subscribers = false cannot give"));
    }
  }
  return {};
}

bool same_geometry(const lane_geometry& a, const lane_geometry& b) {
  return a.ring_bytes == b.ring_bytes && a.strides == b.strides && a.alignment == b.alignment &&
         a.payload_alignment == b.payload_alignment && a.payload_bytes_max == b.payload_bytes_max &&
         a.subscriptions == b.subscriptions && a.flags == b.flags && a.lossy_allowed == b.lossy_allowed &&
         a.reliable_allowed == b.reliable_allowed;
}

// Every subscription of today must still be on the lane: one that left it would not find its place again.
bool everybody_is_on(const topic& control, const lane_slots& slots) {
  for (u32 i = 0; i < control.subscriptions(); ++i) {
    if (control.state(control.subscription(i)) != participant_state::active) continue;
    const u64 bit = u64{1} << (i % 64);
    // sync(lane.active): a subscription leaves a lane under the topic's lock only
    const u64 on = load_acquire(slots.reliable_active[i / 64]) | load_acquire(slots.lossy_active[i / 64]);
    if ((on & bit) == 0) return false;
  }
  return true;
}

void write_entry(publisher_parts& parts, publisher_entry& entry, const lane_header& head) {
  const node_id self = parts.owner->id();
  // relaxed: ordered by the release of the state
  store_relaxed(entry.on_disk, 0);
  // relaxed: as above
  store_relaxed(entry.lane_generation, parts.lane_generation);
  store_relaxed(entry.node_generation, self.generation);        // relaxed: as above
  store_relaxed(entry.node, self.index);                        // relaxed: as above
  store_relaxed(entry.policy, static_cast<u32>(parts.policy));  // relaxed: as above
  store_relaxed(entry.id[0], head.publisher_id[0]);             // relaxed: as above
  store_relaxed(entry.id[1], head.publisher_id[1]);             // relaxed: as above
  store_relaxed(entry.pipe, 0);                                 // relaxed: as above
  // sync(topic.entry): the entry is whole for whoever finds it in use
  store_release(entry.state, static_cast<u64>(participant_state::active));
}

// Goes on with a lane whose publisher is gone, at its end.
bool adopt_lane(publisher_parts& parts, const lane_geometry& geometry, u32 loans_max, participant_state left_as) {
  topic& control = parts.control;
  for (u32 i = 0; i < control.publishers(); ++i) {
    publisher_entry& entry = control.publisher(i);
    if (control.state(entry) != left_as || topic::is_on_disk(entry)) continue;
    const u64 generation = load_relaxed(entry.lane_generation);  // relaxed: ordered by state()
    auto lane = open_lane(control.store(), control.file_name(), generation, access::read_write);
    if (!lane || !same_geometry(lane->geometry, geometry) ||
        load_relaxed(entry.policy) != static_cast<u32>(parts.policy) ||  // relaxed: as above
        !everybody_is_on(control, *lane->memory().slot_table)) {
      continue;
    }
    parts.writer.emplace(lane_writer::adopt_tag{}, lane->memory(), geometry, loans_max);
    parts.lane_generation = generation;
    // Entered first: if we die while the lane is open again, whoever cleans up after us finds it by its entry.
    write_entry(parts, entry, *lane->memory().head);
    if (!parts.writer->adopt()) {
      parts.writer.reset();
      // sync(topic.entry): as it was
      store_release(entry.state, static_cast<u64>(left_as));
      continue;
    }
    parts.lane = std::move(*lane);
    parts.index = i;
    // What the dead had claimed became void: that can make messages visible (B5).
    control.roster_changed(*parts.owner, i);
    return true;
  }
  return false;
}

class lane_keepsake final : public node_keepsake {
 public:
  explicit lane_keepsake(publisher_parts& parts) noexcept
      : lane_(std::move(parts.lane)),
        control_(std::move(parts.control)),
        generation_(parts.lane_generation),
        index_(parts.index) {}
  bool over() const noexcept override {
    const publisher_entry& entry = control_.publisher(index_);
    return control_.state(entry) == participant_state::free ||
           load_relaxed(entry.lane_generation) != generation_;  // relaxed: ordered by state()
  }

 private:
  lane_file lane_;
  topic control_;
  u64 generation_;
  u32 index_;
};

void forget_what_is_over(node& owner) noexcept {
  std::erase_if(owner.kept, [](const auto& k) { return k->over(); });
}

}  // namespace

void keep_lane(publisher_parts& parts) noexcept {
  forget_what_is_over(*parts.owner);
  auto kept = std::make_unique<lane_keepsake>(parts);
  if (!kept->over()) parts.owner->kept.push_back(std::move(kept));
}

result<lane_geometry> geometry_for(const message_type& type, const publisher_options& options, u32 subscriptions) {
  lane_request request{};
  request.capacity_bytes = options.capacity_bytes != 0 ? options.capacity_bytes : capacity_default;
  request.payload_alignment = std::max<u32>(type.alignment, 1);
  request.frame_alignment = options.alignment;
  request.strides = options.strides;
  request.subscriptions = subscriptions;
  request.stamped = options.stamped;
  request.lossy_allowed = options.lossy_subscribers;
  request.reliable_allowed = options.policy != policy::overwrite;
  request.history = options.history;
  request.loans_max = options.loans_max;
  if (auto ok = check_request(request); !ok) return tl::unexpected(std::move(ok.error()));
  const bool variable = type.bytes == 0;
  if (!variable && options.message_bytes_max != 0) {
    return tl::unexpected(
        error(errc::invalid_argument, "message_bytes_max is for types of variable size; this one has " +
                                          std::to_string(type.bytes) + " bytes: leave it out"));
  }
  if (variable && options.history > 0 && options.message_bytes_max == 0) {
    return tl::unexpected(error(errc::invalid_argument,
                                "a history of messages of variable size needs message_bytes_max, the largest of them"));
  }
  request.payload_bytes_max = variable ? options.message_bytes_max : type.bytes;
  if (variable && request.payload_bytes_max == 0) {
    const u64 most = largest_message(request);
    if (most == 0) return make_geometry(request);  // says what is wrong
    request.payload_bytes_max = most;
  }
  if (options.capacity_bytes == 0) {
    request.capacity_bytes = std::max({capacity_default, capacity_for(request), capacity_for_history(request)});
  }
  return make_geometry(request);
}

result<new_lane> lane_preparation::take(const std::string& temporary_prefix, const topic& control,
                                        const lane_geometry& geometry) {
  if (!lane_ || !same_geometry(lane_->geometry, geometry)) {
    return make_lane(store_, temporary_prefix, control.name(), geometry);
  }
  new_lane taken = std::move(*lane_);
  lane_.reset();
  return taken;
}

result<void> enter_lane(publisher_parts& parts, const lane_geometry& geometry, const publisher_options& options,
                        lane_preparation& prepared) {
  topic& control = parts.control;
  forget_what_is_over(*parts.owner);
  control.clean_dead(*parts.owner);
  if (auto ok = check_subscriptions(control, geometry); !ok) return ok;
  if (adopt_lane(parts, geometry, options.loans_max, participant_state::dead)) return {};

  u32 index = 0;
  while (index < control.publishers() && control.state(control.publisher(index)) != participant_state::free) ++index;
  if (index == control.publishers()) {
    // Whoever left a lane last may have died before it removed it.
    index = 0;
    while (index < control.publishers() && !control.retire_lane_if_left(index)) ++index;
  }
  if (index == control.publishers()) {
    // Publishers that come and go faster than somebody reads fill the table with lanes that are not read yet.
    if (adopt_lane(parts, geometry, options.loans_max, participant_state::closed)) return {};
    const u32 count = control.publishers();
    return tl::unexpected(topic_is_full(control.name(), count, "lanes", "publishers_max", count));
  }
  auto made = prepared.take(bus_temporary_prefix(parts.owner->bus()), control, geometry);
  if (!made) return tl::unexpected(std::move(made.error()));
  lane_header& head = made->data.memory.object<lane_header>();
  lane_slots& slots = made->slots.memory.object<lane_slots>();
  const auto id = random_id();
  head.policy = static_cast<u8>(options.policy);
  head.publisher_id[0] = id[0];
  head.publisher_id[1] = id[1];
  head.created_ns = realtime_ns();
  // Every subscription of today begins at the first frame (A14).
  for (u32 i = 0; i < control.subscriptions(); ++i) {
    if (control.state(control.subscription(i)) != participant_state::active) continue;
    const bool reliable = wants_reliable(control.subscription(i), options.policy == policy::overwrite);
    // A pointer, because GCC 12 miscompiles `(condition ? array : other_array)[index] |= bits` with -fsanitize=bounds:
    // one branch writes at an index that was never computed.
    u64* const active = reliable ? slots.reliable_active : slots.lossy_active;
    active[i / 64] |= u64{1} << (i % 64);
  }
  publisher_entry& entry = control.publisher(index);
  // Somebody may have died between placing a lane and entering it.
  remove_lane(control.store(), control.file_name(),
              load_relaxed(entry.lane_generation));                             // relaxed: under the topic's lock
  parts.lane_generation = load_relaxed(control.header().next_lane_generation);  // relaxed: as above
  store_release(control.header().has_lane_files, 1);                            // sync(topic.entry): before the files
  // A generation is spent before its files have names, and the free entry says whose they are: so whoever dies
  // here leaves no generation that is used twice, and no files that nobody removes.
  store_release(entry.lane_generation, parts.lane_generation);  // sync(topic.entry): before the files
  store_release(control.header().next_lane_generation, parts.lane_generation + 1);  // sync(topic.entry): as above
  auto placed = place_lane(control.store(), std::move(*made), control.file_name(), parts.lane_generation,
                           parts.owner->settings().permissions);
  if (!placed) return tl::unexpected(std::move(placed.error()));
  parts.lane = std::move(*placed);
  parts.index = index;
  parts.writer.emplace(parts.lane.memory(), geometry, options.loans_max);
  write_entry(parts, entry, head);
  control.roster_changed(*parts.owner, index);
  return {};
}

}  // namespace quoit::inline v1::detail
