// What a coroutine is while it waits for a message, or for space: an entry in a list of its node's loop.
#pragma once

#include <utility>

#include "quoit/detail/exec/promise.hpp"
#include "quoit/detail/publisher_core.hpp"
#include "quoit/detail/subscriber_core.hpp"

namespace quoit::inline v1::detail {

class bus_loop;

// One link of a ring of waits; by itself when it is in none.
struct wait_link {
  wait_link* before = this;
  wait_link* after = this;
  void* const of = nullptr;  // whose link it is; of the head of a ring, nobody's

  wait_link() = default;
  explicit wait_link(void* owner) noexcept : of(owner) {}
  wait_link(const wait_link&) = delete;
  wait_link& operator=(const wait_link&) = delete;

  bool alone() const noexcept { return after == this; }
  void leave() noexcept {
    before->after = after;
    after->before = before;
    before = after = this;
  }
  // Enters the ring behind its last.
  void enter(wait_link& ring) noexcept {
    before = ring.before;
    after = &ring;
    ring.before->after = this;
    ring.before = this;
  }
};

class QUOIT_EXPORT bus_wait : protected ready_node, protected stop_hook {
 public:
  bus_wait(const bus_wait&) = delete;
  bus_wait& operator=(const bus_wait&) = delete;

 protected:
  explicit bus_wait(stop_hook::function stopped) noexcept : stop_hook(stopped) {}
  ~bus_wait() {
    if (loop_ != nullptr) loop_->forget(*this);
  }
  // The answer is there. True: it is taken at once. False: this turn has had enough of those, and the coroutine goes on
  // with it in the next one.
  bool at_once(const promise_base& awaiting, std::coroutine_handle<> who) noexcept {
    if (awaiting.loop()->may_go_on()) [[likely]]
      return true;
    loop_ = awaiting.loop();
    handle = who;
    loop_->make_ready(*this);
    return false;
  }
  // A stop comes first. True: it was asked for, and is the answer.
  bool is_stopped(const promise_base& awaiting) noexcept {
    if (!awaiting.stop().stop_requested()) return false;
    why_ = errc::cancelled;
    return true;
  }
  // `self` is this, as what it is: it enters the list of its kind there, and the coroutine sleeps.
  template <class Wait>
  bool sleep_in(bus_loop& where, Wait& self, const promise_base& awaiting, std::coroutine_handle<> who) noexcept;
  // Unless it has its answer already, this is it.
  template <class Wait>
  void answer_as(Wait& self, errc why) noexcept;
  static constexpr errc none{};

  bus_loop* where_ = nullptr;  // while it is in a list there
  loop* loop_ = nullptr;       // since it was suspended
  errc why_ = none;            // its answer instead of what it waited for
};

// A subscription that waits for its next message.
class QUOIT_EXPORT receive_wait : private bus_wait {
 public:
  receive_wait(subscriber_core& core, held_message& out) noexcept : bus_wait(&stopped), core_(core), out_(out) {}
  ~receive_wait();

  bool look() noexcept {
    status_ = core_.poll(out_, true);
    return status_ != subscriber_core::polled::nothing;
  }
  // Looks, and waits if there is nothing. False: the answer is there, and may be taken at once. Errors:
  // wrong_thread (its node waits in another executor), busy (somebody waits for it already), cancelled, no_space
  // (memory, for what its node is in the loop).
  bool begin(const promise_base& awaiting, std::coroutine_handle<> who) noexcept;
  // `message`: it is there, and the caller's now. `failed`: why().
  subscriber_core::polled end() noexcept {
    detach();
    return why_ == none ? std::exchange(status_, subscriber_core::polled::nothing) : subscriber_core::polled::failed;
  }
  error why() noexcept { return why_ == none ? core_.why_failed() : error(why_); }

 private:
  friend class bus_loop;
  friend class subscriber_core;
  static void stopped(stop_hook& hook) noexcept;
  void answer(errc why) noexcept;
  // In a forked child it waits for nothing any more, and stays where it is.
  void core_goes_in_child() noexcept;

  subscriber_core& core_;
  held_message& out_;
  subscriber_core::polled status_ = subscriber_core::polled::nothing;
  wait_link in_turn_{this};   // hot, or armed under its ready bit
  wait_link in_armed_{this};  // all that are armed
  u32 settled_ = 0;           // times that it was found hot when the loop looked at the clock

  static receive_wait& of(const wait_link& link) noexcept { return *static_cast<receive_wait*>(link.of); }
};

// A publisher that waits for space.
class QUOIT_EXPORT space_wait : private bus_wait {
 public:
  space_wait(publisher_core& core, u32 payload_bytes, lane_claim& out) noexcept
      : bus_wait(&stopped), core_(core), out_(out), payload_bytes_(payload_bytes) {}
  ~space_wait();

  // True: the answer is there, a claim or a refusal that waiting does not help.
  bool look() noexcept {
    claimed_ = core_.claim(payload_bytes_, out_, true);
    if (claimed_) return true;
    if (core_.worth_waiting()) return false;
    // Now: until the coroutine goes on, another may have let the publisher go.
    refused_ = core_.why_refused();
    return true;
  }
  bool begin(const promise_base& awaiting, std::coroutine_handle<> who) noexcept;
  // True: the claim is the caller's now.
  bool end() noexcept {
    detach();
    return why_ == none && std::exchange(claimed_, false);
  }
  error why() noexcept { return why_ == none ? std::move(refused_) : error(why_); }

 private:
  friend class bus_loop;
  static void stopped(stop_hook& hook) noexcept;
  void answer(errc why) noexcept;
  static space_wait& of(const wait_link& link) noexcept { return *static_cast<space_wait*>(link.of); }

  publisher_core& core_;
  lane_claim& out_;
  u32 payload_bytes_;
  bool claimed_ = false;
  error refused_{errc::closed};
  wait_link in_space_{this};
};

// A publisher on disk that waits until what it has published is there.
class QUOIT_EXPORT flush_wait : private bus_wait {
 public:
  explicit flush_wait(publisher_core& core) noexcept : bus_wait(&stopped), core_(core) {}
  ~flush_wait();

  bool look() noexcept {
    status_ = core_.flush_status(asked_);
    // Kept in here: the publisher may have gone when the coroutine goes on.
    if (status_ == publisher_core::flushing::failed) failure_ = core_.why_not_flushed();
    return status_ != publisher_core::flushing::pending;
  }
  // Asks for it. As receive_wait::begin(). Errors: also forked, closed.
  bool begin(const promise_base& awaiting, std::coroutine_handle<> who) noexcept;
  result<void> end() {
    detach();
    if (why_ != none) return tl::make_unexpected(error(why_));
    if (status_ == publisher_core::flushing::failed) return tl::make_unexpected(std::move(failure_));
    return {};
  }

 private:
  friend class bus_loop;
  static void stopped(stop_hook& hook) noexcept;
  void answer(errc why) noexcept;
  static flush_wait& of(const wait_link& link) noexcept { return *static_cast<flush_wait*>(link.of); }

  publisher_core& core_;
  publisher_core::flush_range asked_;
  publisher_core::flushing status_ = publisher_core::flushing::pending;
  error failure_{none};
  wait_link in_flushing_{this};
};

class flush_awaiter {
 public:
  explicit flush_awaiter(publisher_core& core) noexcept : wait_(core) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return wait_.begin(promise_of(h), h);
  }
  result<void> await_resume() { return wait_.end(); }

 private:
  flush_wait wait_;
};

}  // namespace quoit::inline v1::detail
