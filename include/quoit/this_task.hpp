// What a task may ask about itself.
#pragma once

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/promise.hpp"

namespace quoit::inline v1 {

namespace detail {

class yield_awaiter : private ready_node {
 public:
  yield_awaiter() noexcept {}
  ~yield_awaiter() {
    if (queued()) loop_->forget(*this);
  }
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    loop_ = promise_of(h).loop();
    handle = h;
    loop_->make_ready(*this);
  }
  void await_resume() const noexcept {}

 private:
  loop* loop_ = nullptr;
};

class stop_token_awaiter {
 public:
  stop_token_awaiter() noexcept {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    token_ = promise_of(h).stop();
    return false;
  }
  quoit::stop_token await_resume() const noexcept { return token_; }

 private:
  quoit::stop_token token_;
};

}  // namespace detail

namespace this_task {

// co_await this_task::yield(): lets everybody else who is ready go first. 8 ns.
inline detail::yield_awaiter yield() noexcept { return detail::yield_awaiter(); }

// co_await this_task::stop_token(): the token of this task. Does not suspend.
inline detail::stop_token_awaiter stop_token() noexcept { return detail::stop_token_awaiter(); }

}  // namespace this_task

}  // namespace quoit::inline v1
