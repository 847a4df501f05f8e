#include "bus/lane_links.hpp"

#include <cerrno>
#include <thread>

#include "bus/subscriber_parts.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

using reading = lane_reader::reading;

// Where one can see that it is dying, and others want the lock that is held meanwhile.
constexpr std::chrono::seconds dying_takes_at_most{10};

bool overwrites(const publisher_entry& entry) {
  return load_relaxed(entry.policy) == static_cast<u32>(policy::overwrite);  // relaxed: ordered by state()
}

error conflict(const topic& control, const char* words) {
  return error(errc::policy_conflict, "topic " + control.name() + " has a publisher " + words);
}

result<lane_file> open_lane_of(const subscriber_parts& parts, const publisher_entry& entry) {
  const u64 generation = load_relaxed(entry.lane_generation);  // relaxed: ordered by state()
  const access slots = parts.observes() ? access::read : access::read_write;
  auto lane = open_lane(parts.control.store(), parts.control.file_name(), generation, access::read, slots);
  if (lane && parts.index >= lane->geometry.subscriptions) {
    return tl::unexpected(corrupt_lane(
        parts.control.store(), lane_slots_file_name(parts.control.file_name(), generation), "it has too few slots"));
  }
  return lane;
}

std::unique_ptr<lane_link> make_link(const subscriber_parts& parts, u32 index, lane_file lane, reading how) {
  const publisher_entry& entry = parts.control.publisher(index);
  auto link = std::make_unique<lane_link>(std::move(lane), parts.index, how, parts.options.samples_max);
  link->owner = parts.owner.get();
  link->control = &parts.control;
  link->publisher_id[0] = load_relaxed(entry.id[0]);       // relaxed: ordered by state()
  link->publisher_id[1] = load_relaxed(entry.id[1]);       // relaxed: ordered by state()
  link->generation = load_relaxed(entry.lane_generation);  // relaxed: ordered by state()
  link->index = index;
  return link;
}

}  // namespace

bool is_out_of_reach(const error& e) noexcept {
  return e == errc::no_permission && (e.system_errno() == ENOENT || e.system_errno() == ESTALE);
}

bool died_with_its_lane(const subscriber_parts& parts, u32 index, const error& why) {
  if (!is_out_of_reach(why)) return false;
  const node_id owner = topic::owner_of(parts.control.publisher(index));
  const deadline end(dying_takes), latest(dying_takes_at_most);
  while (parts.owner->alive(owner)) {
    if (latest.over() || (end.over() && !parts.owner->dying(owner))) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

result<std::unique_ptr<lane_link>> join_lane(const subscriber_parts& parts, u32 index) {
  const topic& control = parts.control;
  const publisher_entry& entry = control.publisher(index);
  auto lane = open_lane_of(parts, entry);
  if (!lane) return tl::unexpected(std::move(lane.error()));
  const bool can_be_reliable = lane->geometry.reliable_allowed && !overwrites(entry);
  const mode asked = parts.options.mode;
  if (asked == mode::reliable && !can_be_reliable) {
    return tl::unexpected(conflict(control,
                                   "with policy overwrite, which waits for nobody; subscribe with mode "
                                   "automatic or lossy"));
  }
  const bool reliable = can_be_reliable && asked != mode::lossy && !parts.observes();
  if (!reliable && !parts.observes() && !lane->geometry.lossy_allowed) {
    return tl::unexpected(
        conflict(control, "with lossy_subscribers = false; subscribe with mode automatic or reliable"));
  }
  auto link = make_link(parts, index, std::move(*lane),
                        parts.observes() ? reading::observing
                        : reliable       ? reading::reliable
                                         : reading::lossy);
  lane_reader& reader = link->reader;
  const start& from = parts.options.start;
  const bool started = from.kind == start::from::latest     ? reader.start_at_latest()
                       : from.kind == start::from::earliest ? reader.start_with_history(~u64{0})
                                                            : reader.start_with_history(from.value);
  if (!started) {
    return tl::unexpected(corrupt_lane(control.store(), lane_data_file(control.file_name(), link->generation),
                                       "it holds what no publisher writes"));
  }
  reader.look_at_state();
  return link;
}

namespace {

// A lane that an observer finds in the table: nobody set a slot for it.
result<std::unique_ptr<lane_link>> look_at_lane(const subscriber_parts& parts, u32 index) {
  const publisher_entry& entry = parts.control.publisher(index);
  const bool younger = load_relaxed(entry.lane_generation) >= parts.generation_at_open;  // relaxed: ordered by state()
  // One that was left before the observer came; unless somebody has gone on with it.
  if (!younger && parts.control.state(entry) != participant_state::active) return nullptr;
  if (!younger) return join_lane(parts, index);
  auto lane = open_lane_of(parts, entry);
  if (!lane) return tl::unexpected(std::move(lane.error()));
  auto link = make_link(parts, index, std::move(*lane), reading::observing);
  link->reader.start_at_first();
  link->reader.look_at_state();
  return link;
}

}  // namespace

result<std::unique_ptr<lane_link>> follow_lane(subscriber_parts& parts, u32 index) {
  if (parts.observes()) {
    const node_id owner = topic::owner_of(parts.control.publisher(index));
    auto link = look_at_lane(parts, index);
    if (link) return link;
    const bool gone = link.error() == errc::not_found || (is_out_of_reach(link.error()) && !parts.owner->alive(owner));
    if (gone) return nullptr;
    return link;
  }
  const publisher_entry& entry = parts.control.publisher(index);
  const u64 generation = load_relaxed(entry.lane_generation);  // relaxed: ordered by state()
  const node_id owner = topic::owner_of(entry);
  auto lane = open_lane_of(parts, entry);
  if (!lane) {
    if (lane.error() == errc::not_found) return nullptr;
    if (is_out_of_reach(lane.error()) && !parts.owner->alive(owner)) {
      // Nobody can read it any more, so nobody of us keeps it in the table.
      parts.control.leave_lane(*parts.owner, index, generation, parts.index);
      // Never waited for: this is a poll. Else whoever needs its place removes it.
      if (auto lock = parts.control.lock(std::chrono::nanoseconds(0))) parts.control.retire_lane_if_left(index);
      // No lane of ours will ask whether it lives: it would be counted as a publisher for ever.
      parts.owner->clean_if_dead(owner, std::chrono::nanoseconds(0));
      return nullptr;
    }
    return tl::unexpected(std::move(lane.error()));
  }
  const lane_slots& slots = *lane->memory().slot_table;
  const u64 bit = u64{1} << (parts.index % 64);
  // sync(lane.active): the slot was set before the lane had a name
  const bool reliable = (load_acquire(slots.reliable_active[parts.index / 64]) & bit) != 0;
  const bool lossy = (load_acquire(slots.lossy_active[parts.index / 64]) & bit) != 0;
  if (!reliable && !lossy) return nullptr;
  auto link = make_link(parts, index, std::move(*lane), reliable ? reading::reliable : reading::lossy);
  link->reader.start_at_first();
  link->reader.look_at_state();
  return link;
}

}  // namespace quoit::inline v1::detail
