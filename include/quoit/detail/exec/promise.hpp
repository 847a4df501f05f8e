// What the promises of all our coroutines share: where they run, what may stop them, and who waits for them.
#pragma once

#include <concepts>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "quoit/detail/exec/frame_pool.hpp"
#include "quoit/detail/exec/loop.hpp"
#include "quoit/stop.hpp"

namespace quoit::inline v1::detail {

// Says which coroutines GCC 12 cannot compile, and aborts.
[[noreturn]] QUOIT_EXPORT void misplaced_frame() noexcept;

// A custom awaiter finds both in the promise of whoever awaits it:
//   void await_suspend(std::coroutine_handle<> h) { promise_of(h).loop(); promise_of(h).stop(); }
//
// A frame has a prefix of two words, its own address and its promise's. The second makes promise_of() possible without
// the promise's type. The first finds frames that GCC 12 lays out wrong: a coroutine whose first local variable is the
// hidden flag of an `if (co_await ...)` has that flag in front of everything, and would run with every variable 8 bytes
// off. It is told so when it is made.
class promise_base {
 public:
  static void* operator new(std::size_t bytes) {
    auto* const words = static_cast<std::uintptr_t*>(allocate_frame(bytes + prefix_bytes));
    words[0] = reinterpret_cast<std::uintptr_t>(words + 2);
    return words + 2;
  }
  static void operator delete(void* frame, std::size_t bytes) noexcept {
    free_frame(static_cast<std::uintptr_t*>(frame) - 2, bytes + prefix_bytes);
  }

  promise_base() noexcept {
    // The addresses of two functions come first, and then the promise.
    auto* const frame = reinterpret_cast<std::uintptr_t*>(this) - 2;
    if (frame[-2] != reinterpret_cast<std::uintptr_t>(frame)) [[unlikely]]
      misplaced_frame();
    frame[-1] = reinterpret_cast<std::uintptr_t>(this);
    self_ = std::coroutine_handle<>::from_address(frame);
  }
  promise_base(const promise_base&) = delete;
  promise_base& operator=(const promise_base&) = delete;
  ~promise_base() {
    if (node_.queued) loop_->forget(node_);
  }

  std::suspend_always initial_suspend() const noexcept { return {}; }

  // The coroutine of this promise.
  std::coroutine_handle<> self() const noexcept { return self_; }
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

  static constexpr std::size_t prefix_bytes = 2 * sizeof(std::uintptr_t);

  std::coroutine_handle<> self_;
  detail::loop* loop_ = nullptr;
  stop_token stop_;
  std::coroutine_handle<> continuation_ = std::noop_coroutine();
  ready_node node_;
};

// Of one of our coroutines: no other has that prefix.
inline promise_base& promise_of(std::coroutine_handle<> h) noexcept {
  return *reinterpret_cast<promise_base*>(static_cast<std::uintptr_t*>(h.address())[-1]);
}
// The same, for an awaiter that is handed a typed handle: of another library's coroutine it is refused.
template <class Promise>
promise_base& promise_of(std::coroutine_handle<Promise> h) noexcept {
  static_assert(std::derived_from<Promise, promise_base>,
                "quoit's operations are awaited in a quoit::task: wrap this in one");
  return promise_of(std::coroutine_handle<>(h));
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
