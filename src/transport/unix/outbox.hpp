// A publisher on the kernel path: a lane in memory of its own, and a connection for each subscription.
//
// Each connection has a reader of its own in that lane, reliable or lossy as its subscription is, and sends what that
// reader takes. That of an observer has no slot in the lane: it copies, and what is overwritten before it looks is
// lost. So policies, backpressure, history and counts of what was lost are those of the lane; the socket comes behind
// it. A commit sends at once. What a full socket does not take stays in the lane, and a thread of the outbox sends it
// when there is room; that thread also greets who comes, and notices who goes.
//
// Invariants: a connection is used with the mutex held. It holds at most one frame, the one that did not fit. While it
// is `full` nobody but the thread sends on it. What is committed and not sent keeps its place in the lane (its reader's
// wall, or a lossy reader's loss).
//
// Threads: open, close, flush, subscribers and who_blocks are the publisher's.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "quoit/detail/lane_reader.hpp"
#include "quoit/detail/lane_writer.hpp"
#include "topic/topic.hpp"
#include "transport/unix/meeting_place.hpp"

namespace quoit::inline v1::detail {

class outbox final : public node_keepsake {
 public:
  struct request {
    std::string_view topic;
    type_info type;
    topic_limits limits;
    lane_geometry geometry;
    quoit::policy policy;
    u32 loans_max;
    bool fixed_size;  // a message too large for a socket is an error; else the largest one becomes smaller
  };
  // The publisher is there, connected to every subscription, when this returns.
  // Errors: as meeting_place::open(), and policy_conflict, limit_reached, message_too_large (value: the limit).
  static result<std::unique_ptr<outbox>> open(node& owner, const request& r, std::chrono::nanoseconds lock_timeout);
  ~outbox() override;

  // The largest message that a socket takes here.
  u32 packet_payload_max() const noexcept { return packet_payload_max_; }
  lane_writer& writer() noexcept { return *writer_; }
  topic& control() noexcept { return control_; }

  // Sends what became visible. How many system calls that took.
  u64 flush() noexcept;
  // Sends again on those whose socket was full. True: something went.
  bool send_more() noexcept;
  // True: the sockets have taken all that is visible, for everybody who is there. Sends what they take now.
  bool all_sent() noexcept;
  u32 subscribers() noexcept;
  // Whoever makes room in the lane writes to this eventfd too; -1: to none.
  void tell_of_room(int descriptor) noexcept;
  void who_blocks(u32 slot, u32& pid, char (&node_name)[48]) noexcept;
  // The lane is closed: nobody comes any more, and what is left is sent by the thread. over() once it was.
  void close() noexcept;
  bool over() const noexcept override;
  bool has_thread() const noexcept override { return true; }
  // What is left is for subscribers that live: they have that time to take it.
  void finish_until(const deadline& end) noexcept override;

 private:
  struct connection {
    guarded_fd socket;
    std::unique_ptr<lane_reader> reader;  // none until it was greeted
    lane_frame frame;
    bool holds = false;  // `frame` is taken and not sent
    bool full = false;
    bool gone = false;
    bool observes = false;
    u32 pid = 0;
    char node_name[48] = {};
  };

  outbox(node& owner, const request& r) noexcept : owner_(owner), request_(r) {}
  result<void> set_up(std::chrono::nanoseconds lock_timeout);
  result<void> limit_messages();
  result<void> connect_to_all(const std::vector<member>& members, u32 slot, u32 end);
  result<std::unique_ptr<connection>> reach(const member& whom, u32 slot);
  welcome greeting(bool reliable) const noexcept;

  void run() noexcept;
  void take_connections() noexcept;
  void greet(u32 slot) noexcept;
  bool find_place(u32& slot, bool observer) noexcept;
  errc start_reader(u32 slot, const hello& said) noexcept;
  bool send_on(connection& c) noexcept;
  void watch(u32 slot, bool for_room) noexcept;
  void drop(u32 slot) noexcept;
  void drop_gone() noexcept;
  void show_counters() noexcept;
  void tell_thread() noexcept;
  bool everything_sent() const noexcept;
  void end_thread() noexcept;

  static void room_was_made(void* context);

  node& owner_;
  request request_;
  meeting_place place_;
  registration own_;
  topic control_;
  lane_file lane_;
  std::unique_ptr<lane_writer> writer_;
  u64 id_[2] = {};
  u64 sent_ = 0;
  u32 packet_payload_max_ = 0;

  std::mutex mutex_;
  std::vector<std::unique_ptr<connection>> connections_;  // by slot; behind those of the lane, observers
  guarded_fd epoll_;
  guarded_fd told_;  // an eventfd
  int told_of_room_ = -1;
  bool listening_ = false;
  bool closing_ = false;
  bool stopping_ = false;
  std::atomic<bool> over_{false};
  std::unique_ptr<std::thread> thread_;
};

}  // namespace quoit::inline v1::detail
