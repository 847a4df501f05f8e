#include "topic/topic_storage.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/segment_prefix.hpp"
#include "topic/names.hpp"
#include "topic/topic.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int reads_max = 100;

}  // namespace

std::string topic_place::described() const {
  if (in_memory()) return "in memory alone";
  if (!is_there()) return "in " + directory + " (not made yet)";
  return "in " + directory + " (device " + std::to_string(device) + ", inode " + std::to_string(inode) + ")";
}

result<storage_record> read_storage_record(segment_store& store, const std::string& topic_file, u64 generation) {
  if (generation == 0) return storage_record();
  const std::string name = storage_record_file(topic_file, generation);
  const auto corrupt = [&](const char* what) {
    return tl::unexpected(
        error(errc::corrupt, store.path(name) + ": " + what + ": stop the processes of the topic, and remove it"));
  };
  auto memory = store.map(name, access::read);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  const u64 bytes = memory->bytes();
  if (bytes < storage_header_bytes) return corrupt("it is shorter than a storage record");
  const storage_header& h = memory->object<storage_header>();
  const segment_prefix prefix = h.prefix;
  if (prefix.magic != storage_magic) return corrupt("it is no storage record");
  if (prefix.layout_major != layout_major || prefix.required_features != 0) {
    return tl::unexpected(another_version(store.path(name), prefix));
  }
  storage_record record;
  record.generation = generation;
  record.previous = h.previous;
  record.place.device = h.device;
  record.place.inode = h.inode;
  record.place.directory.assign(h.directory, ::strnlen(h.directory, sizeof h.directory));
  const u64 ends_bytes = prefix.entry_count;
  const std::string& directory = record.place.directory;
  if (!directory.empty() && (directory[0] != '/' || directory.size() > topic_directory_bytes_max)) {
    return corrupt("it names a directory without an absolute path");
  }
  if (record.previous >= generation) return corrupt("it names a later record as the one before it");
  if (ends_bytes > bytes - storage_header_bytes) return corrupt("it is shorter than what it holds");
  if (h.has_ends != 0) {
    record.ends.emplace(reinterpret_cast<const char*>(memory->data()) + storage_header_bytes, ends_bytes);
  }
  return record;
}

result<void> make_storage_record(segment_store& store, const std::string& temporary_prefix,
                                 const std::string& topic_file, const storage_record& record,
                                 const shm_permissions& permissions) {
  const std::string name = storage_record_file(topic_file, record.generation);
  const std::string ends = record.ends.value_or(std::string());
  const std::size_t bytes = align_up(storage_header_bytes + ends.size(), 4096);
  auto made = store.make(temporary_prefix, bytes, {"the record of where a topic is kept, " + store.path(name)});
  if (!made) return tl::unexpected(std::move(made.error()));
  storage_header& h = made->memory.object<storage_header>();
  h.prefix = prefix_of_now(storage_magic, storage_header_bytes, 1, static_cast<u32>(ends.size()), bytes);
  h.previous = record.previous;
  h.device = record.place.device;
  h.inode = record.place.inode;
  h.has_ends = record.ends ? 1 : 0;
  record.place.directory.copy(h.directory, sizeof h.directory - 1);
  ends.copy(reinterpret_cast<char*>(made->memory.data()) + storage_header_bytes, ends.size());
  auto placed = store.place(*made, name, permissions);
  if (!placed) return tl::unexpected(std::move(placed.error()));
  if (!*placed) return tl::unexpected(error(errc::corrupt, store.path(name) + " is there already: remove it"));
  return {};
}

// ---- of a topic ----------------------------------------------------------------------------------------

result<storage_record> topic::storage() const {
  for (int attempt = 0;; ++attempt) {
    // sync(topic.storage): the record that it names is whole
    const u64 generation = load_acquire(header().storage);
    auto record = read_storage_record(*store_, file_name_, generation);
    if (record || record.error() != errc::not_found || attempt == reads_max) return record;
    // A newer one counts by now, or the topic was removed.
    if (load_acquire(header().storage) == generation) return record;  // sync(topic.storage): as above
  }
}

topic_moment topic::moment() const noexcept {
  return {header().id, load_relaxed(header().roster)};  // relaxed: under the topic's lock
}

// With the lock held. False: it is there. Errors: policy_conflict.
result<bool> topic::moves_to(node& self, const topic_place& now, const topic_place& wanted) {
  if (now == wanted) return false;
  clean_dead(self);
  const std::string keeper = keeper_of_place(self);
  if (keeper.empty()) return true;
  std::string words =
      "topic " + name() + " is kept " + now.described() + " by " + keeper + ", and asked for " + wanted.described();
  if (!wanted.in_memory() && now.directory == wanted.directory) {
    words += ": the directory was replaced while somebody is on the topic";
  }
  return tl::unexpected(error(errc::policy_conflict, words));
}

// Who keeps the topic where it is (S4), for people; empty: no participant does.
std::string topic::keeper_of_place(const node& self) const {
  const auto process_of = [&](node_id id) {
    if (id.index >= self.node_count_max()) return std::string();
    const node_entry& entry = self.entry_at(id.index);
    // relaxed: for people; an entry that is another node's by now names no process
    if (load_relaxed(entry.generation) != id.generation) return std::string();
    return " of process " + std::to_string(load_relaxed(entry.pid));  // relaxed: for people
  };
  for (u32 i = 0; i < publishers_; ++i) {
    if (state(publisher(i)) == participant_state::active) return "a publisher" + process_of(owner_of(publisher(i)));
  }
  for (u32 i = 0; i < subscriptions_; ++i) {
    const subscription_entry& entry = subscription(i);
    // relaxed: ordered by state()
    if (state(entry) == participant_state::active && load_relaxed(entry.keeps_place) != 0) {
      return "a subscriber" + process_of(owner_of(entry)) + ", which named its directory";
    }
  }
  return {};
}

result<void> topic::move_to(node& self, const topic_place& place, std::optional<std::string> ends) {
  topic_header& h = header();
  // relaxed: under the topic's lock
  const u64 before = load_relaxed(h.storage), made_last = load_relaxed(h.storage_making);
  const u64 generation = load_relaxed(h.next_lane_generation);  // relaxed: as above
  // Of somebody who died before it counted (S5).
  if (made_last > before) store_->remove(storage_record_file(file_name_, made_last));
  const storage_record record{generation, before, place, std::move(ends)};
  // sync(topic.storage): whose the file is, before it is there
  store_release(h.storage_making, record.generation);
  // sync(topic.entry): spent before it is used
  store_release(h.next_lane_generation, record.generation + 1);
  auto made =
      make_storage_record(*store_, bus_temporary_prefix(self.bus()), file_name_, record, self.settings().permissions);
  if (!made) return made;
  // sync(topic.storage): the record is whole
  store_release(h.storage, record.generation);
  u64 of_no_entry = 0;
  next_roster(self, of_no_entry);
  u64 seen_by_all = record.generation;
  for (u32 i = 0; i < subscriptions_; ++i) {
    const subscription_entry& entry = subscription(i);
    if (state(entry) != participant_state::active) continue;
    // sync(topic.storage_seen): its owner reads no record up to this one any more
    seen_by_all = std::min(seen_by_all, load_acquire(entry.storage_seen));
  }
  forget_records(seen_by_all);
  return {};
}

// Removes the records up to this one, but for the one that counts; with ~0 all of them. The oldest first: whoever dies
// here leaves none that nothing leads to.
void topic::forget_records(u64 newest) noexcept {
  const topic_header& h = header();
  const u64 counts = load_relaxed(h.storage), made_last = load_relaxed(h.storage_making);  // relaxed: under the lock
  const bool all = newest == ~u64{0};
  std::vector<u64> records;
  if (all && made_last > counts) records.push_back(made_last);
  for (u64 at = counts; at != 0;) {
    if (at <= newest && (all || at != counts)) records.push_back(at);
    const auto record = read_storage_record(*store_, file_name_, at);
    at = record ? record->previous : 0;
  }
  for (std::size_t i = records.size(); i-- > 0;) store_->remove(storage_record_file(file_name_, records[i]));
}

}  // namespace quoit::inline v1::detail
