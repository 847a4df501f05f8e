// A node in the loop of an executor: the seam between the two.
//
// A subscription that waits is *hot* at first: each turn of the loop polls it. When it was hot for about the spin
// budget, or when the loop is about to sleep, it is *armed*: its bit is set in its topic, and then it costs a turn
// nothing, with ten thousand of them too. Whoever fires it marks a bit of the node, which the loop finds in its next
// turn, or which wakes it. Rules B1 to B6 of docs/design/wake.md, as for a thread that waits by itself (waiting.cpp).
//
// Once in `recheck` a quarter of what is armed is looked at, for wakes that died with their waker.
#pragma once

#include <array>
#include <optional>

#include "quoit/detail/bus_waits.hpp"
#include "topic/node.hpp"
#include "wake/doorbell.hpp"

namespace quoit::inline v1::detail {

class bus_loop final : public loop_source, public node_attachment {
 public:
  // The node's; made at first use. nullptr: why. Errors: wrong_thread (it waits in another loop), no_space (memory).
  static bus_loop* of(node& owner, loop& where, errc& why) noexcept;
  bus_loop(node& owner, loop& where);
  ~bus_loop() override;

  void wait(receive_wait& w) noexcept;
  void wait(space_wait& w) noexcept;
  void wait(flush_wait& w) noexcept;
  void leave(receive_wait& w) noexcept;
  void leave(space_wait& w) noexcept;
  void leave(flush_wait& w) noexcept;
  // Whoever waits for space in its lane, or for its disk, answers errc::closed.
  void publisher_goes(const publisher_core& core) noexcept;
  loop* where() const noexcept { return loop_; }
  bool left_behind() const noexcept override { return loop_ != nullptr && loop_->left_behind(); }

  bool look() noexcept override;
  // A disk takes longer than a loop spins.
  bool hot() const noexcept override { return !hot_.alone() || !space_.alone(); }
  bool prepare_sleep(loop_bed& bed) noexcept override;
  void woken() noexcept override;
  std::chrono::nanoseconds sleep_max() const noexcept override;
  void loop_gone() noexcept override;
  void ready_was_taken() noexcept override;
  // A loop that lies in another one has said that it sleeps, and that is not so any more.
  void slept_beside() noexcept override {
    if (loop_ != nullptr) loop_->disturb();
  }

 private:
  void disarm(receive_wait& w) noexcept;
  void done(receive_wait& w) noexcept;
  bool look_at_hot() noexcept;
  bool look_at_space() noexcept;
  bool look_at_flushing() noexcept;
  bool look_at_ready() noexcept;
  bool settle() noexcept;
  void want(subscriber_core& core) noexcept;
  void arm(receive_wait& w) noexcept;
  bool look_at_newly_armed(std::size_t count) noexcept;
  bool recheck(std::int64_t now) noexcept;
  void prefetch_behind(const wait_link& at) const noexcept;

  node& node_;
  loop* loop_;
  wait_link hot_;
  wait_link space_;
  wait_link flushing_;
  wait_link armed_;
  std::array<wait_link, ready_bits> by_bit_;
  std::size_t armed_count_ = 0;
  bool observes_ = false;
  unsigned looks_ = 0;
  std::int64_t settled_ns_ = 0;
  std::int64_t recheck_ns_;
  std::optional<nap> nap_;
};

}  // namespace quoit::inline v1::detail
