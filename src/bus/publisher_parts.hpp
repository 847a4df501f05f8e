#pragma once

#include <optional>

#include "bus/deadline.hpp"
#include "bus/foreign_bell.hpp"
#include "quoit/detail/publisher_core.hpp"
#include "topic/topic.hpp"
#include "transport/unix/outbox.hpp"

namespace quoit::inline v1::detail {

struct publisher_parts {
  std::shared_ptr<node> owner;
  topic control;
  lane_file lane;
  std::optional<lane_writer> writer;
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

// On the kernel path: closes, and leaves to the node what is not sent yet.
void finish_kernel(publisher_parts& parts) noexcept;
// In sealed memory: subscribers that have not opened the lane of a publisher that left find it as long as its node is
// there, or until all of them have left it.
void keep_lane(publisher_parts& parts) noexcept;
error too_large_for_sockets(u32 packet_payload_max) noexcept;

// The geometry that the options ask for. Errors: as make_geometry().
result<lane_geometry> geometry_for(const message_type& type, const publisher_options& options, u32 subscriptions);

// A lane that is made before the topic's lock is taken, as allocating a large one takes long. Removed with this, unless
// it was taken.
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
