#pragma once

#include <chrono>
#include <cstdint>

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/promise.hpp"
#include "quoit/duration.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

namespace detail {

class sleep_awaiter : private timer, private stop_hook {
 public:
  explicit sleep_awaiter(std::int64_t until_ns) noexcept : stop_hook(&sleep_awaiter::stopped) { at_ns = until_ns; }
  ~sleep_awaiter() {
    if (loop_ == nullptr) return;
    loop_->remove(*this);
    loop_->forget(*this);
  }
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    const bool stopped = promise_of(h).stop().stop_requested();
    if (stopped || promise_of(h).loop()->forked()) {
      why_ = stopped ? errc::cancelled : errc::forked;
      return false;
    }
    loop_ = promise_of(h).loop();
    handle = h;
    loop_->add(static_cast<timer&>(*this));
    attach(promise_of(h).stop());
    return true;
  }
  result<void> await_resume() noexcept {
    detach();
    if (why_ != none) return tl::make_unexpected(error(why_));
    return {};
  }

 private:
  static void stopped(stop_hook& hook) noexcept {
    auto& self = static_cast<sleep_awaiter&>(hook);
    if (!self.in_heap && !self.loop_->was_dropped(self)) return;
    self.loop_->remove(self);
    self.why_ = errc::cancelled;
    self.loop_->make_ready(self);
  }
  static constexpr errc none{};

  loop* loop_ = nullptr;
  errc why_ = none;
};

class sleep_operation {
 public:
  explicit sleep_operation(std::int64_t until_ns) noexcept : until_ns_(until_ns) {}
  sleep_awaiter operator co_await() const noexcept { return sleep_awaiter(until_ns_); }

 private:
  std::int64_t until_ns_;
};

}  // namespace detail

// co_await sleep_for(d): suspends for at least `d`; goes on on the same executor. Allocates nothing.
// Errors: cancelled, forked.
inline detail::sleep_operation sleep_for(duration d) noexcept {
  return detail::sleep_operation(detail::loop::ns_from_now(d));
}
// Until that time of the steady clock; one that is over is no wait, but a turn of the loop.
template <class Duration>
detail::sleep_operation sleep_until(std::chrono::time_point<std::chrono::steady_clock, Duration> t) noexcept {
  return detail::sleep_operation(duration(t.time_since_epoch()).count());
}

}  // namespace quoit::inline v1
