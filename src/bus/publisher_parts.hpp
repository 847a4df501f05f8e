#pragma once

#include <optional>

#include "base/deadline.hpp"
#include "bus/disk_lane.hpp"
#include "bus/foreign_bell.hpp"
#include "bus/places.hpp"
#include "quoit/detail/publisher_core.hpp"
#include "topic/topic.hpp"
#include "transport/unix/outbox.hpp"

namespace quoit::inline v1::detail {

struct publisher_parts {
  std::shared_ptr<node> owner;
  topic control;
  lane_file lane;
  std::optional<lane_writer> writer;
  std::unique_ptr<disk_lane> disk;        // on disk, in the place of the two above
  std::unique_ptr<outbox> sockets;        // on the kernel path: it has the lane and the writer
  u64 always_armed = ~u64{0};             // there, each commit is looked at
  std::unique_ptr<foreign_bell> foreign;  // once its descriptor was asked for
  u32 index = 0;                          // in the publisher table
  u64 lane_generation = 0;
  quoit::policy policy = quoit::policy::block;
  u32 spin_misses = 0;
  // When the lock of whoever is in the way is probed next; it outlives the single wait, which may be shorter.
  deadline recheck{std::chrono::nanoseconds(0)};
};

// Of publishers of every kind. Errors: invalid_argument.
result<void> check_options(const publisher_options& options);

// For commit_elsewhere(), in the place of the bytes to commit.
inline constexpr u32 abandoned = ~u32{0};

// On the kernel path: closes, and leaves to the node what is not sent yet.
void finish_kernel(publisher_parts& parts) noexcept;
// In sealed memory: subscribers that have not opened the lane of a publisher that left find it as long as its node is
// there, or until all of them have left it.
void keep_lane(publisher_parts& parts) noexcept;
error too_large_for_sockets(u32 packet_payload_max) noexcept;

// Opening a publisher on disk, step by step. What takes a disk, prepare(), open_lane() and measure_ends(), touches no
// node and may run on another thread; the other two take the topic's lock.
//
// Everything that the options refer to is copied. What it made on the disk is removed with it, unless it succeeded.
class disk_opening {
 public:
  disk_opening(std::shared_ptr<node> owner, std::string_view topic, const message_type& type,
               const publisher_options& options);

  // Checks what was asked for, and looks for the directory of the topic.
  result<void> prepare();
  // Asks the topic, before anything is made on the disk, whether this may publish there. Errors: busy (its lock).
  result<void> ask_topic(std::chrono::nanoseconds lock_timeout);
  // Makes the directories where they are missing, recovers the lane, and makes its first segment. Errors: as
  // log_writer::open().
  result<void> open_lane();
  // Enters the topic's table. Nothing: subscribers are on it that have not known where it is kept, so measure_ends()
  // comes first, and then this again. Errors: busy (its lock), and then this may be tried again.
  result<publisher_core*> enter(std::chrono::nanoseconds lock_timeout);
  // Finds out where the lanes of the directory end now; takes a disk. Errors: as kept_reader::open().
  result<void> measure_ends();

 private:
  result<topic::opened> open_topic(std::chrono::nanoseconds lock_timeout);
  result<u32> find_entry(topic& control);
  void enter_table(topic& control, u32 index);

  std::shared_ptr<node> owner_;
  std::string topic_;
  std::string type_name_;
  std::string type_fields_;
  std::string directory_;
  std::string publisher_name_;
  message_type type_;
  publisher_options options_;
  topic_place place_;
  measured_ends ends_;
  log_writer_options writing_;
  std::optional<made_names> made_;  // of the directories above the lane's: goes after the writer
  std::unique_ptr<log_writer> writer_;
  u64 lane_id_[2]{};
};

// The geometry that the options ask for. Errors: as make_geometry().
result<lane_geometry> geometry_for(const message_type& type, const publisher_options& options, u32 subscriptions);

// A lane that is made before the topic's lock is taken, as allocating a large one takes long. Removed with this,
// unless it was taken.
class lane_preparation {
 public:
  // `store` outlives it.
  explicit lane_preparation(segment_store& store) noexcept : store_(store) {}
  ~lane_preparation() {
    if (lane_) discard_lane(store_, *lane_);
  }
  lane_preparation(const lane_preparation&) = delete;
  lane_preparation& operator=(const lane_preparation&) = delete;

  // True of a lane that is better made in advance.
  static bool pays_for(const lane_geometry& geometry) noexcept { return geometry.data_file_bytes() > 1024 * 1024; }
  void keep(new_lane lane) noexcept { lane_.emplace(std::move(lane)); }
  // The lane that was prepared, if it is such a one, or a new one.
  result<new_lane> take(const std::string& temporary_prefix, const topic& control, const lane_geometry& geometry);

 private:
  segment_store& store_;
  std::optional<new_lane> lane_;
};

// Makes a lane, or adopts that of a dead publisher, and enters it in the table. With the topic's lock held.
result<void> enter_lane(publisher_parts& parts, const lane_geometry& geometry, const publisher_options& options,
                        lane_preparation& prepared);

}  // namespace quoit::inline v1::detail
