// A connection as its subscriber has it: what comes is received into a lane of the subscriber's own, from which its
// reader takes it, so that samples, batches and held messages are those of any lane.
//
// Invariants: at most one claim is open, the one that the next packet is received into. Nothing is received while the
// reader has something to take, but for the rest of a burst of at most a quarter of the ring: so a lossy reader, whose
// held samples the writer steps around, is never lapped. A packet behind a gap waits in its claim until all before it
// was taken; only then do both sides step over the gap.
#pragma once

#include "quoit/detail/lane_reader.hpp"
#include "quoit/detail/lane_writer.hpp"
#include "topic/lane_file.hpp"
#include "transport/unix/sockets.hpp"
#include "transport/unix/wire.hpp"

namespace quoit::inline v1::detail {

// What the lane of a subscription is like. Errors: corrupt (no publisher says that), message_too_large, no_space.
result<lane_geometry> geometry_for(const welcome& w, u32 type_bytes, u32 samples_max);

class incoming {
 public:
  // `epoll` outlives this; the socket is in it, under `tag`.
  incoming(guarded_fd socket, const lane_file& lane, u32 type_bytes, int epoll, u64 tag);
  incoming(const incoming&) = delete;
  incoming& operator=(const incoming&) = delete;
  ~incoming();

  // Receives what is there. Errors: corrupt; then the connection is closed.
  result<void> receive(lane_reader& reader) noexcept;
  // True if a packet waits for the reader to take what came before it.
  bool waits_for_reader() const noexcept { return gap_ != 0; }
  // Messages lost in front of the next one, once.
  u64 take_lost() noexcept { return std::exchange(lost_now_, 0); }
  bool has_lost() const noexcept { return lost_now_ != 0; }
  // False: its publisher is gone, and everything was received.
  bool is_connected_now() const noexcept { return socket_ && is_connected(socket_.get()); }
  // The reader gave bytes back.
  void room_was_made() noexcept { watch(true); }
  u64 tag() const noexcept { return tag_; }
  bool open() const noexcept { return static_cast<bool>(socket_); }

 private:
  enum class received : u8 { message, nothing, full, wrong };
  received receive_one(lane_reader& reader) noexcept;
  received claim_place() noexcept;
  void step(lane_reader& reader) noexcept;
  void watch(bool on) noexcept;
  void end() noexcept;

  guarded_fd socket_;
  lane_writer writer_;
  lane_slots* slots_;
  lane_claim claim_;
  packet_head head_{};
  bool claimed_ = false;
  bool watched_ = true;
  u32 type_bytes_;
  u32 burst_ = 8;  // packets to ask for at once: more while they are there
  u32 received_bytes_ = 0;
  u64 gap_ = 0;   // sequences between the last message and the one in the claim
  u64 lost_ = 0;  // so far, as the publisher says
  u64 lost_now_ = 0;
  int epoll_;
  u64 tag_;
};

}  // namespace quoit::inline v1::detail
