#include "topic/topic.hpp"

#include <cstring>

#include "base/file_lock.hpp"
#include "base/random.hpp"
#include "base/segment_prefix.hpp"
#include "base/type_difference.hpp"
#include "ring/waiting_writer.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 first_generation = 1;

constexpr int topic_attempts_max = 100;

error busy_topic(const std::string& path) {
  return error(errc::busy, "the lock of " + path +
                               " was held for longer than lock_timeout: some process that opens or closes the "
                               "topic is stopped, or stands in a debugger");
}

result<void> check_limits(const topic_limits& limits) {
  const auto within = [](u32 value, u32 most) { return value >= 1 && value <= most; };
  if (within(limits.publishers_max, publishers_limit) && within(limits.subscriptions_max, subscriptions_limit)) {
    return {};
  }
  return tl::unexpected(
      error(errc::invalid_argument, "publishers_max is " + std::to_string(limits.publishers_max) +
                                        ", subscriptions_max is " + std::to_string(limits.subscriptions_max) +
                                        ": each must be 1 to " + std::to_string(subscriptions_limit)));
}

void write_header(topic_header& h, std::size_t segment_bytes, std::string_view name, const type_info& type,
                  const topic_limits& limits) {
  h.prefix =
      prefix_of_now(topic_magic, topic_header_bytes, sizeof(publisher_entry), limits.publishers_max, segment_bytes);
  h.subscription_bytes = sizeof(subscription_entry);
  h.subscriptions = limits.subscriptions_max;
  h.type_bytes = type.bytes;
  h.type_alignment = type.alignment;
  h.next_lane_generation = first_generation;
  name.copy(h.name, sizeof h.name - 1);
  type.name.copy(h.type_name, sizeof h.type_name - 1);
  type.fields.copy(h.type_fields, sizeof h.type_fields - 1);
  h.prefix.required_features = topic_has_storage;
  h.id = random_id()[0];
}

// Text that another process wrote: it may lack its end.
std::string text_of(const char* text, std::size_t bytes_max) { return std::string(text, ::strnlen(text, bytes_max)); }

// Waits for the lock of an open file. False: the file has no name any more.
result<bool> lock_file(segment_locks& locks, const std::string& path, std::chrono::nanoseconds timeout) {
  switch (locks.lock(shm_lock_byte, timeout)) {
    case lock_status::taken: return !locks.removed();
    case lock_status::held_by_other: return tl::unexpected(busy_topic(path));
    default: return tl::unexpected(error(errc::system, "locking " + path, 0, errno));
  }
}

}  // namespace

// ---- opening -------------------------------------------------------------------------------------------

result<topic::opened> topic::open(const std::shared_ptr<node>& owner, std::string_view name, const type_info& type,
                                  const topic_limits& limits, std::chrono::nanoseconds lock_timeout,
                                  const std::optional<topic_place>& wanted) {
  auto bare = checked_topic_name(name);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  if (wanted && wanted->directory.size() > topic_directory_bytes_max) {
    return tl::unexpected(
        error(errc::invalid_argument, "the path of the directory has " + std::to_string(wanted->directory.size()) +
                                          " bytes: at most " + std::to_string(topic_directory_bytes_max)));
  }
  if (auto ok = check_limits(limits); !ok) return tl::unexpected(std::move(ok.error()));
  if (type.name.size() > type_name_bytes_max || type.fields.size() > type_fields_bytes_max) {
    return tl::unexpected(error(errc::invalid_argument, "the name of the type has " + std::to_string(type.name.size()) +
                                                            " bytes and its description " +
                                                            std::to_string(type.fields.size()) + ": at most " +
                                                            std::to_string(type_name_bytes_max) + " and " +
                                                            std::to_string(type_fields_bytes_max)));
  }
  const std::string file = topic_file(owner->bus(), *bare);
  for (int attempt = 0; attempt < topic_attempts_max; ++attempt) {
    auto opened = open_file(owner, file, lock_timeout);
    if (!opened && opened.error() == errc::not_found) {
      segment_locks locks;
      auto made = make(*owner, file, *bare, type, limits, locks);
      if (made)
        return topic::opened{std::move(*made), topic_lock(std::move(locks)), {}, wanted && !wanted->in_memory()};
      if (made.error() != errc::not_found) return tl::unexpected(std::move(made.error()));
      continue;
    }
    if (!opened) return opened;
    topic& control = opened->control;
    auto ok = control.check_type(type);
    auto storage = ok ? control.storage() : storage_record();
    if (!storage) ok = tl::unexpected(std::move(storage.error()));
    if (ok) opened->storage = std::move(*storage);
    if (ok && wanted) {
      auto moves = control.moves_to(*owner, opened->storage.place, *wanted);
      if (moves) opened->moves = *moves;
      if (!moves) ok = tl::unexpected(std::move(moves.error()));
    }
    if (ok) return opened;
    // A topic that only the dead have left is nobody's.
    control.clean_dead(*owner);
    control.remove_if_unused();
    if (!opened->lock.of_removed()) return tl::unexpected(std::move(ok.error()));
  }
  return tl::unexpected(busy_topic(owner->store().path(file)));
}

result<topic::opened> topic::open_file(const std::shared_ptr<node>& owner, const std::string& file_name,
                                       std::chrono::nanoseconds lock_timeout) {
  segment_store& store = owner->store();
  const std::string path = store.path(file_name);
  for (int attempt = 0; attempt < topic_attempts_max; ++attempt) {
    auto locks = store.open_locks(file_name);
    if (!locks) return tl::unexpected(std::move(locks.error()));
    auto locked = lock_file(*locks, path, lock_timeout);
    if (!locked) return tl::unexpected(std::move(locked.error()));
    if (!*locked) continue;
    topic control;
    control.store_ = &store;
    control.file_name_ = file_name;
    control.lock_timeout_ = owner->settings().lock_timeout;
    auto memory = store.map(file_name, access::read_write);
    if (!memory) return tl::unexpected(std::move(memory.error()));
    const u64 bytes = memory->bytes();
    if (bytes < topic_bytes(1, 1)) {
      return tl::unexpected(error(errc::corrupt, path + " has " + std::to_string(bytes) + " bytes, a topic at least " +
                                                     std::to_string(topic_bytes(1, 1)) + ": remove it"));
    }
    control.memory_ = std::move(*memory);
    if (auto ok = control.check(path, bytes); !ok) return tl::unexpected(std::move(ok.error()));
    return opened{std::move(control), topic_lock(std::move(*locks)), {}, false};
  }
  return tl::unexpected(busy_topic(path));
}

result<topic> topic::look(segment_store& store, const std::string& file_name) {
  auto memory = store.map(file_name, access::read);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  const u64 bytes = memory->bytes();
  if (bytes < topic_bytes(1, 1)) return tl::unexpected(error(errc::corrupt, store.path(file_name) + " is too short"));
  topic control;
  control.store_ = &store;
  control.file_name_ = file_name;
  control.memory_ = std::move(*memory);
  if (auto ok = control.check(store.path(file_name), bytes); !ok) return tl::unexpected(std::move(ok.error()));
  return control;
}

result<topic> topic::observe(const node& owner, std::string_view name, const type_info& type) {
  auto bare = checked_topic_name(name);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  auto control = look(owner.store(), topic_file(owner.bus(), *bare));
  if (!control) {
    if (control.error().code() != errc::not_found) return control;
    return tl::unexpected(error(errc::not_found, "topic " + std::string(*bare) + " of bus " + owner.bus() +
                                                     " does not exist: an observer makes none"));
  }
  if (auto ok = control->check_type(type); !ok) return tl::unexpected(std::move(ok.error()));
  return control;
}

// `not_found`: somebody else was first, or took our temporary for abandoned.
result<topic> topic::make(node& owner, const std::string& file_name, std::string_view name, const type_info& type,
                          const topic_limits& limits, segment_locks& lock) {
  auto made = owner.store().make(bus_temporary_prefix(owner.bus()),
                                 topic_bytes(limits.publishers_max, limits.subscriptions_max),
                                 {"the tables of topic " + std::string(name), "limits"});
  if (!made) return tl::unexpected(std::move(made.error()));
  write_header(made->memory.object<topic_header>(), made->memory.bytes(), name, type, limits);
  auto placed = owner.store().place(*made, file_name, owner.settings().permissions);
  if (!placed) return tl::unexpected(std::move(placed.error()));
  if (!*placed) return tl::unexpected(error(errc::not_found));
  topic control;
  control.store_ = &owner.store();
  control.memory_ = std::move(made->memory);
  control.file_name_ = file_name;
  control.lock_timeout_ = owner.settings().lock_timeout;
  control.publishers_ = limits.publishers_max;
  control.subscriptions_ = limits.subscriptions_max;
  lock = std::move(made->locks);
  return control;
}

result<topic> topic::make_private(std::string_view name, const type_info& type, const topic_limits& limits) {
  if (auto ok = check_limits(limits); !ok) return tl::unexpected(std::move(ok.error()));
  auto memory = map_private(topic_bytes(limits.publishers_max, limits.subscriptions_max));
  if (!memory) return tl::unexpected(std::move(memory.error()));
  write_header(memory->object<topic_header>(), memory->bytes(), name, type, limits);
  topic control;
  control.memory_ = std::move(*memory);
  control.publishers_ = limits.publishers_max;
  control.subscriptions_ = limits.subscriptions_max;
  return control;
}

result<void> topic::check(const std::string& path, u64 bytes) {
  const segment_prefix prefix = header().prefix;
  const u32 subscription_count = header().subscriptions;
  if (prefix.magic != topic_magic) {
    return tl::unexpected(error(errc::corrupt, path + " is no topic (wrong magic number): remove it"));
  }
  if (prefix.layout_major != layout_major || (prefix.required_features & ~topic_has_storage) != 0) {
    return tl::unexpected(another_version(path, prefix, topic_has_storage));
  }
  if (prefix.required_features != topic_has_storage) {
    return tl::unexpected(error(errc::newer_version, path + " was made by a version of quoit that does not say where a "
                                                            "topic is kept: use one version of quoit on a bus"));
  }
  if (prefix.header_bytes != topic_header_bytes || prefix.entry_bytes != sizeof(publisher_entry) ||
      header().subscription_bytes != sizeof(subscription_entry) || prefix.entry_count == 0 ||
      prefix.entry_count > publishers_limit || subscription_count == 0 || subscription_count > subscriptions_limit ||
      bytes < topic_bytes(prefix.entry_count, subscription_count)) {
    return tl::unexpected(error(errc::corrupt, path + " has tables that do not fit into it: remove it"));
  }
  publishers_ = prefix.entry_count;
  subscriptions_ = subscription_count;
  return {};
}

result<void> topic::check_type(const type_info& type) const {
  const std::string found_name = type_name(), found_fields = type_fields();
  const std::string difference = type_difference({found_name, type_bytes(), type_alignment(), found_fields}, type);
  if (difference.empty()) return {};
  return tl::unexpected(
      error(errc::type_mismatch, "topic " + name() + " carries another type than the one asked for: " + difference));
}

result<topic_lock> topic::lock(std::chrono::nanoseconds timeout) const {
  auto locks = store_->open_locks(file_name_);
  if (!locks) return tl::unexpected(std::move(locks.error()));
  auto locked = lock_file(*locks, store_->path(file_name_), timeout);
  if (!locked) return tl::unexpected(std::move(locked.error()));
  if (!*locked) return tl::unexpected(error(errc::not_found, store_->path(file_name_) + " was removed"));
  return topic_lock(std::move(*locks));
}

error topic_is_full(const std::string& topic, std::size_t count, const char* what, const char* option, u32 max) {
  return error(errc::limit_reached,
               "topic " + topic + " has " + std::to_string(count) + " " + what +
                   "; whoever makes the topic chooses limits." + option,
               max);
}

// ---- reading -------------------------------------------------------------------------------------------

std::string topic::name() const { return text_of(header().name, sizeof header().name); }
std::string topic::type_name() const { return text_of(header().type_name, sizeof header().type_name); }
std::string topic::type_fields() const { return text_of(header().type_fields, sizeof header().type_fields); }

participant_state topic::state(const publisher_entry& entry) const noexcept {
  // sync(topic.entry): the entry is whole for whoever finds it in use
  return static_cast<participant_state>(load_acquire(entry.state));
}
participant_state topic::state(const subscription_entry& entry) const noexcept {
  // sync(topic.entry): as above
  return static_cast<participant_state>(load_acquire(entry.state));
}
node_id topic::owner_of(const publisher_entry& entry) noexcept {
  return {load_relaxed(entry.node), load_relaxed(entry.node_generation)};  // relaxed: ordered by state()
}
node_id topic::owner_of(const subscription_entry& entry) noexcept {
  return {load_relaxed(entry.node), load_relaxed(entry.node_generation)};  // relaxed: ordered by state()
}

bool topic::is_on_disk(const publisher_entry& entry) noexcept {
  return load_relaxed(entry.on_disk) != 0;  // relaxed: ordered by state()
}
std::string topic::lane_name_of(const publisher_entry& entry) {
  return is_on_disk(entry) ? text_of(entry.lane_name, sizeof entry.lane_name) : std::string();
}

u32 topic::count_active_subscriptions() const noexcept {
  u32 count = 0;
  for (u32 i = 0; i < subscriptions_; ++i) count += state(subscription(i)) == participant_state::active;
  return count;
}

u32 topic::count_active_publishers() const noexcept {
  u32 count = 0;
  for (u32 i = 0; i < publishers_; ++i) count += state(publisher(i)) == participant_state::active;
  return count;
}

// ---- changing ------------------------------------------------------------------------------------------

void topic::ring_all(node& self) const noexcept {
  for (u32 i = 0; i < subscriptions_; ++i) {
    const subscription_entry& entry = subscription(i);
    if (state(entry) != participant_state::active) continue;
    // relaxed: ordered by state()
    self.mark_and_ring_anyway(owner_of(entry), load_relaxed(entry.ready_bit));
    self.ring_endpoint(owner_of(entry), load_relaxed(entry.pipe));  // relaxed: either this, or its first look is later
  }
}

void topic::next_roster(node& self, u64& entry_epoch) {
  const u64 next = load_relaxed(header().roster) + 1;  // relaxed: it changes under the lock only
  store_relaxed(entry_epoch, next);                    // relaxed: ordered by the release below
  // sync(topic.roster): the table, and where the topic is kept, are as new as this number
  store_release(header().roster, next);
  ring_all(self);
}

void topic::roster_changed(node& self, u32 index) { next_roster(self, publisher(index).epoch); }

bool topic::leave_lane(node& self, u32 publisher_index, u32 index) const {
  // Readers of a directory have no slot, and no publisher waits for them.
  if (is_on_disk(publisher(publisher_index))) return true;
  return leave_lane(self, publisher_index, publisher(publisher_index).lane_generation, index);
}

bool topic::leave_lane(node& self, u32 publisher_index, u64 generation, u32 index) const {
  auto lane = open_lane_slots(*store_, file_name_, generation);
  if (!lane) return is_gone(lane.error());
  if (index >= lane->subscriptions) return true;
  free_slot(lane->slots(), index);
  // Leaving is a move (C3). Not only if it waits: the leaver may be dead, and may have taken `waiting` and not rung.
  const publisher_entry& entry = publisher(publisher_index);
  self.ring_node_anyway(owner_of(entry));
  self.ring_endpoint(owner_of(entry), load_relaxed(entry.pipe));  // relaxed: either this, or its first look is later
  return true;
}

void topic::remove_subscription(node& self, u32 index) {
  // sync(wake.armed): nobody is woken for this entry any more
  fetch_and(header().armed[index / 64], ~(u64{1} << (index % 64)));
  bool left_all = true;
  for (u32 p = 0; p < publishers_; ++p) {
    if (state(publisher(p)) == participant_state::free) continue;
    if (leave_lane(self, p, index)) {
      retire_lane_if_left(p);
    } else {
      left_all = false;
    }
  }
  // A slot that could not be reached is still somebody's wall: whoever can reach it frees the entry.
  if (!left_all) return;
  // sync(topic.entry): free, for whoever registers next
  store_release(subscription(index).state, static_cast<u64>(participant_state::free));
}

// Everybody is told before the entry changes: a cleaner that dies here leaves it to the next one to do all of this.
void topic::close_lane(node& self, u32 index, participant_state becomes) {
  publisher_entry& entry = publisher(index);
  // A lane on disk says by its lock whether somebody publishes in it.
  if (!is_on_disk(entry)) {
    if (auto lane = open_lane_slots(*store_, file_name_, entry.lane_generation)) {
      // sync(lane.state): every frame of the lane is whole: its writer is gone
      store_release(lane->slots().state, static_cast<u64>(lane_state::closed));
    } else if (!is_gone(lane.error())) {
      return;
    }
  }
  roster_changed(self, index);
  // sync(topic.entry): closed, for whoever looks at the table
  store_release(entry.state, static_cast<u64>(becomes));
  retire_lane_if_left(index);
}

bool topic::retire_lane_if_left(u32 index) {
  publisher_entry& entry = publisher(index);
  const participant_state now = state(entry);
  if (now != participant_state::closed && now != participant_state::dead) return false;
  if (is_on_disk(entry)) {
    // What was published stays in the directory, and is read from there: nobody needs the entry for it.
    // sync(topic.entry): free, for the next publisher
    store_release(entry.state, static_cast<u64>(participant_state::free));
    return true;
  }
  if (auto lane = open_lane_slots(*store_, file_name_, entry.lane_generation)) {
    for (u32 word = 0; word * 64 < lane->subscriptions; ++word) {
      // sync(lane.active): nobody's loads come after this
      if ((load_acquire(lane->slots().reliable_active[word]) | load_acquire(lane->slots().lossy_active[word])) != 0) {
        return false;
      }
    }
  } else if (!is_gone(lane.error())) {
    return false;
  }
  remove_lane(*store_, file_name_, entry.lane_generation);
  // sync(topic.entry): free, for the next publisher
  store_release(entry.state, static_cast<u64>(participant_state::free));
  return true;
}

void topic::clean_dead(node& self) {
  for (u32 i = 0; i < subscriptions_; ++i) {
    if (state(subscription(i)) == participant_state::free) continue;
    if (!self.alive(owner_of(subscription(i)))) remove_subscription(self, i);
  }
  for (u32 i = 0; i < publishers_; ++i) {
    if (state(publisher(i)) != participant_state::active) continue;
    if (!self.alive(owner_of(publisher(i)))) close_lane(self, i, participant_state::dead);
  }
}

void topic::remove_if_unused() {
  if (count_active_publishers() + count_active_subscriptions() > 0) return;
  // Looking for lanes reads the whole directory, which is slow where ten thousand topics go at once.
  if (load_relaxed(header().has_lane_files) != 0) {  // relaxed: under the topic's lock
    const auto lanes = store_->list(file_name_ + "@");
    // Without its topic nobody would find them: whoever comes next removes both.
    if (!lanes) return;
    for (const std::string& lane : *lanes) store_->remove(lane);
  }
  forget_records(~u64{0});
  store_->remove(file_name_);
}

}  // namespace quoit::inline v1::detail
