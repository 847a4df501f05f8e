// What the promises of all our coroutines share: where they run, what may stop them, and who waits for them.
#pragma once

#include <concepts>
#include <cstddef>
#include <utility>

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/frame_pool.hpp"
#include "quoit/detail/exec/loop.hpp"
#include "quoit/stop.hpp"

namespace quoit::inline v1::detail {

// Finds frames that GCC 12 lays out wrong: a coroutine whose first local variable is the hidden flag of an
// `if (co_await ...)` has that flag in front of everything, and would run with every variable 8 bytes off. Called when
// the promise is made; aborts, and says what to write instead.
QUOIT_EXPORT void check_frame_of(const void* promise) noexcept;

// A custom awaiter finds both in the promise of whoever awaits it:
//   template <class P> void await_suspend(std::coroutine_handle<P> h) { promise_of(h).loop(); promise_of(h).stop(); }
class promise_base {
 public:
  static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
  static void operator delete(void* frame, std::size_t bytes) noexcept { free_frame(frame, bytes); }

  promise_base() noexcept {
#if defined(__GNUC__) && !defined(__clang__)
    check_frame_of(this);
#endif
  }
  promise_base(const promise_base&) = delete;
  promise_base& operator=(const promise_base&) = delete;
  ~promise_base() {
    if (node_.queued()) loop_->forget(node_);
  }

  std::suspend_always initial_suspend() const noexcept { return {}; }

  detail::loop* loop() const noexcept { return loop_; }
  const stop_token& stop() const noexcept { return stop_; }
  void run_on(detail::loop* loop, const stop_token& stop) noexcept {
    loop_ = loop;
    stop_ = stop;
  }
  // Resumed when this coroutine is over.
  void then(std::coroutine_handle<> continuation) noexcept { continuation_ = continuation; }

  // `to`, now or, with the stack deep, through the ready queue.
  std::coroutine_handle<> transfer(std::coroutine_handle<> to) noexcept {
    if (loop_ == nullptr || !loop_->deep()) return to;
    node_.handle = to;
    loop_->make_ready(node_);
    return std::noop_coroutine();
  }

 private:
  friend struct final_awaiter;

  detail::loop* loop_ = nullptr;
  stop_token stop_;
  std::coroutine_handle<> continuation_ = std::noop_coroutine();
  ready_node node_;
};

template <class Promise>
promise_base& promise_of(std::coroutine_handle<Promise> h) noexcept {
  static_assert(std::derived_from<Promise, promise_base>,
                "quoit's operations are awaited in a quoit::task: wrap this in one");
  return h.promise();
}

// At the end: whoever waits goes on at once.
struct final_awaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
    promise_base& promise = promise_of(self);
    return promise.transfer(promise.continuation_);
  }
  void await_resume() const noexcept {}
};

}  // namespace quoit::inline v1::detail
