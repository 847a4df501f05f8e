#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/deadline.hpp"
#include "bus/foreign_bell.hpp"
#include "bus/kept_subscription.hpp"
#include "quoit/detail/exec/loop.hpp"
#include "quoit/detail/subscriber_core.hpp"
#include "topic/topic.hpp"
#include "transport/unix/incoming.hpp"
#include "transport/unix/mailbox.hpp"

namespace quoit::inline v1::detail {

// One lane of the topic, as this subscription reads it.
struct lane_link {
  lane_link(lane_file file, u32 slot, lane_reader::reading how, u32 samples_max)
      : lane(std::move(file)),
        reader(lane.memory(), lane.geometry, slot, how, samples_max, lane_poke{&lane_link::poke, this}) {}

  static void poke(void* self) {
    auto* const link = static_cast<lane_link*>(self);
    if (link->connection) return link->connection->room_was_made();
    // Whoever has the lane by now: it may have been adopted since we looked.
    const publisher_entry& entry = link->control->publisher(link->index);
    const node_id whom = topic::owner_of(entry);
    link->owner->ring_node(whom);
    link->owner->ring_endpoint(whom, load_relaxed(entry.pipe));  // relaxed: written before `waiting`, which was taken
  }

  lane_file lane;
  lane_reader reader;
  std::unique_ptr<incoming> connection;  // on the kernel path
  node* owner = nullptr;
  const topic* control = nullptr;
  u64 publisher_id[2] = {};
  u32 index = 0;  // in the publisher table
  u64 generation = 0;
  bool drained = false;  // closed, and read to its end
  bool broken = false;   // it holds what no publisher of this version writes: that was said, and it is not read on
};

// On the kernel path, where it is the only reader of its lane: as it counted last.
inline u64 received_on(const lane_link& link) noexcept {
  return load_relaxed(link.lane.memory().slot_table->slot[0].received);  // relaxed: a counter, of this thread
}

// busy: whenever it is opened, it is kept elsewhere than a moment before.
inline error topic_is_moved_on(std::string_view topic) {
  return error(errc::busy, "topic " + std::string(topic) + " is moved from place to place all the time");
}

// The wait of a loop for the sockets of a subscriber. In flight from one sleep to the next.
struct socket_watch : operation {
  node* owner = nullptr;
  loop* where = nullptr;
  u32 ready_bit = 0;
  bool orphaned = false;  // its subscriber is gone: it goes with its completion
};

struct subscriber_parts {
  std::shared_ptr<node> owner;
  topic control;
  std::unique_ptr<mailbox> sockets;         // on the kernel path
  std::unique_ptr<socket_watch> watch;      // there, once a loop has waited for it
  std::unique_ptr<kept_subscription> kept;  // of a topic on disk: where it is now
  // Where it was before, until that is read to its end.
  std::vector<std::unique_ptr<kept_subscription>> left;
  std::vector<topic_place> read_before;                 // places from which it has read
  kept_type type;                                       // that a directory has to carry
  u64 storage_seen = 0;                                 // the record up to which it follows (S2)
  u64 storage_refused = 0;                              // the record that could not be followed: that was said
  deadline storage_retry{std::chrono::nanoseconds(0)};  // when that is tried again
  std::unique_ptr<foreign_bell> foreign;                // once its descriptor was asked for
  std::vector<std::unique_ptr<lane_link>> links;
  u64 never_seen = ~u64{0};  // there, a roster that always differs
  u32 index = 0;             // in the subscription table
  u32 ready_bit = 0;
  u32 payload_bytes = 0;  // of every message; 0: variable
  subscriber_options options;
  std::size_t next = 0;  // the link to look at first
  u64 lost_before = 0;   // on lanes that are gone
  u64 received_before = 0;
  bool spinning_pays = true;
  // A lane could not be opened, for want of rights or descriptors. It is tried again at each look.
  bool lane_missing = false;
  std::optional<deadline> dying;  // a publisher may be: until then its lane is not missed
  // Lanes that could be opened and make no sense: nobody looks at them again.
  struct refused_lane {
    u32 index;
    u64 generation;
    friend bool operator==(const refused_lane&, const refused_lane&) = default;
  };
  std::vector<refused_lane> refused;
  std::vector<error> unsaid;     // about lanes: poll() says each once
  error failure{errc::corrupt};  // of the last poll that failed
  // When the publishers' locks are probed next; it outlives the single wait, which may be shorter.
  deadline recheck{std::chrono::nanoseconds(0)};
  // Of an observer: lanes from this generation on came after it.
  u64 generation_at_open = 0;

  bool observes() const noexcept { return options.mode == mode::observer; }
};

}  // namespace quoit::inline v1::detail
