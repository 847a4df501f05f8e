// The control segment of a topic, mapped by one endpoint: who publishes, who subscribes, of what type.
//
// Changes are made under the topic's lock, a lock on its file through a description of its own for each
// operation: so ten thousand topics need no descriptors while nothing opens or closes. Whoever finds a
// participant dead under that lock may clean up after it: an id (node, generation) that is dead stays dead.
//
// Thread safety: one thread, but for what other processes do to the segment.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/type_difference.hpp"
#include "quoit/detail/topic_layout.hpp"
#include "topic/lane_file.hpp"
#include "topic/node.hpp"
#include "topic/topic_storage.hpp"

namespace quoit::inline v1::detail {

// What a topic carries. Two descriptions agree if all four members are equal.
using type_info = described_type;

// A moment in the life of a topic: no publisher has come or gone between two moments that are equal.
struct topic_moment {
  u64 id = 0;
  u64 roster = 0;
  friend bool operator==(const topic_moment&, const topic_moment&) = default;
};

// limit_reached, value `max`: the topic has `count` of `what`, and `option` of topic_limits was `max`.
error topic_is_full(const std::string& topic, std::size_t count, const char* what, const char* option, u32 max);

// Holds the lock of a topic as long as it lives.
class topic_lock {
 public:
  explicit topic_lock(segment_locks locks) noexcept : locks_(std::move(locks)) {}
  topic_lock(topic_lock&&) = default;
  topic_lock& operator=(topic_lock&&) = default;
  // True if the topic was removed with the lock held.
  bool of_removed() const noexcept { return locks_.removed(); }

 private:
  segment_locks locks_;
};

class topic {
 public:
  struct opened;

  // Opens the topic, or makes it. The lock is still held. `wanted`: where its messages have to be; nothing: wherever
  // they are. If it says `opened.moves`, they are elsewhere, and move_to() comes before anything is published. Errors:
  // invalid_name, invalid_argument, type_mismatch, policy_conflict (a publisher, or a subscriber that named a
  // directory, keeps it elsewhere), no_space, no_permission, busy, newer_version, corrupt, system.
  static result<opened> open(const std::shared_ptr<node>& owner, std::string_view name, const type_info& type,
                             const topic_limits& limits, std::chrono::nanoseconds lock_timeout,
                             const std::optional<topic_place>& wanted = std::nullopt);
  // Opens what is there, whatever its type, by the name of its file. Errors: also not_found.
  static result<opened> open_file(const std::shared_ptr<node>& owner, const std::string& file_name,
                                  std::chrono::nanoseconds lock_timeout);
  // The same without the lock, and read as it stands: for listings.
  static result<topic> look(segment_store& store, const std::string& file_name);
  // The same by name, of this type: for observers. Errors: also invalid_name, type_mismatch.
  static result<topic> observe(const node& owner, std::string_view name, const type_info& type);

  // The segment of a topic on the kernel path, in memory of this process alone: nobody else reads it, and it has no
  // lock. Errors: invalid_argument, no_space.
  static result<topic> make_private(std::string_view name, const type_info& type, const topic_limits& limits);

  // Errors: busy, not_found, system.
  result<topic_lock> lock() const { return lock(lock_timeout_); }
  result<topic_lock> lock(std::chrono::nanoseconds timeout) const;

  segment_store& store() const noexcept { return *store_; }
  const std::string& file_name() const noexcept { return file_name_; }
  std::string name() const;
  std::string type_name() const;
  std::string type_fields() const;
  u32 type_bytes() const noexcept { return header().type_bytes; }
  u32 type_alignment() const noexcept { return header().type_alignment; }

  explicit operator bool() const noexcept { return memory_.data() != nullptr; }

  // Where it is kept, by the record that counts. Errors: as read_storage_record(); not_found: the topic was removed.
  result<storage_record> storage() const;
  topic_moment moment() const noexcept;

  topic_header& header() const noexcept { return memory_.object<topic_header>(); }
  u32 publishers() const noexcept { return publishers_; }
  u32 subscriptions() const noexcept { return subscriptions_; }
  publisher_entry& publisher(u32 i) const noexcept {
    return memory_.object<publisher_entry>(topic_header_bytes + sizeof(publisher_entry) * i);
  }
  subscription_entry& subscription(u32 i) const noexcept {
    return memory_.object<subscription_entry>(topic_header_bytes + sizeof(publisher_entry) * publishers_ +
                                              sizeof(subscription_entry) * i);
  }
  participant_state state(const publisher_entry& entry) const noexcept;
  participant_state state(const subscription_entry& entry) const noexcept;
  static node_id owner_of(const publisher_entry& entry) noexcept;
  // True of a publisher without lane files: what it publishes is in the topic's directory, under lane_name_of().
  static bool is_on_disk(const publisher_entry& entry) noexcept;
  // Whatever another process wrote there: it may be no name of a lane. Empty if it is not on disk.
  static std::string lane_name_of(const publisher_entry& entry);
  static node_id owner_of(const subscription_entry& entry) noexcept;

  // ---- with the lock held ----
  // What is published from now on is in this place; `ends`: where its lanes end now, for the subscriptions that are
  // there already. Errors: as make_storage_record().
  result<void> move_to(node& self, const topic_place& place, std::optional<std::string> ends);
  // Cleans up after every participant that is dead.
  void clean_dead(node& self);
  // Frees the entry of a subscription in every lane, whether its owner left or died.
  void remove_subscription(node& self, u32 index);
  // Takes a subscription's slot in one lane out of the way of its publisher. Needs no lock. False: it could not be
  // reached, and is there.
  bool leave_lane(node& self, u32 publisher_index, u32 subscription_index) const;
  // The same of a lane by its generation, which its entry may not name any more.
  bool leave_lane(node& self, u32 publisher_index, u64 generation, u32 subscription_index) const;
  // Closes the lane of a publisher that left or died, and removes it if nobody has anything to read in it.
  void close_lane(node& self, u32 index, participant_state becomes);
  // Removes a closed lane that every subscription has left.
  bool retire_lane_if_left(u32 index);
  // Removes the topic if it has no participant.
  void remove_if_unused();
  // Tells everybody that the publisher table changed.
  void roster_changed(node& self, u32 index);

  // Marks every subscription ready and rings its node.
  void ring_all(node& self) const noexcept;
  u32 count_active_subscriptions() const noexcept;
  u32 count_active_publishers() const noexcept;

 private:
  result<void> check(const std::string& path, u64 bytes);
  result<void> check_type(const type_info& type) const;
  result<bool> moves_to(node& self, const topic_place& now, const topic_place& wanted);
  std::string keeper_of_place(const node& self) const;
  void forget_records(u64 newest) noexcept;
  void next_roster(node& self, u64& entry_epoch);
  static result<topic> make(node& owner, const std::string& file_name, std::string_view name, const type_info& type,
                            const topic_limits& limits, segment_locks& lock);

  mapping memory_;
  segment_store* store_ = nullptr;  // of its node, which is there as long
  std::string file_name_;
  std::chrono::nanoseconds lock_timeout_{};
  u32 publishers_ = 0;
  u32 subscriptions_ = 0;
};

struct topic::opened {
  topic control;
  topic_lock lock;
  storage_record storage;  // where it is
  bool moves = false;
};

}  // namespace quoit::inline v1::detail
