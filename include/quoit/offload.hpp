#pragma once

#include <stdexcept>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/group.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

namespace detail {

// The function, its thread and its answer: lives until both the thread and whoever waits are done with it.
template <class Function>
class offloaded final : public posted, public ready_node {
 public:
  using value = std::invoke_result_t<Function&>;

  explicit offloaded(Function f) : work_(std::move(f)) {
    call = [](posted& self) noexcept { static_cast<offloaded&>(self).arrived(); };
    discard = [](posted& self) noexcept { static_cast<offloaded&>(self).over(); };
  }

  void start(loop& where, std::coroutine_handle<> who) {
    if (where.forked()) throw std::logic_error("quoit::offload: in a forked child, on its parent's executor");
    where_ = &where;
    handle = who;
    thread_ = std::thread([this] {
      try {
        if constexpr (std::is_void_v<value>) {
          work_();
          out.value.emplace();
        } else {
          out.value.emplace(work_());
        }
      } catch (...) {
        out.exception = std::current_exception();
      }
      where_->post_surely(*this);
    });
    started_ = true;
  }

  // Whoever waits goes, perhaps before the end: what the function refers to is likely to go with it.
  void leave() noexcept {
    if (!started_) return over();
    // A child has no such thread, and cannot tell how far it came.
    if (where_->forked() && thread_.joinable()) return;
    if (thread_.joinable()) {
      thread_.join();  // what it posted is in the inbox now
      left_ = true;
      return;
    }
    if (queued()) where_->forget(*this);
    over();
  }

  outcome<value> out;

 private:
  void arrived() noexcept {
    if (left_) return over();
    thread_.join();
    where_->make_ready(*this);
  }
  void over() noexcept { delete this; }

  Function work_;
  loop* where_ = nullptr;
  std::thread thread_;
  bool started_ = false;
  bool left_ = false;
};

template <class Function>
class offload_awaiter {
 public:
  explicit offload_awaiter(offloaded<Function>* job) noexcept : job_(job) {}
  ~offload_awaiter() { job_->leave(); }
  offload_awaiter(const offload_awaiter&) = delete;
  offload_awaiter& operator=(const offload_awaiter&) = delete;
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    job_->start(*promise_of(h).loop(), h);
  }
  typename offloaded<Function>::value await_resume() {
    if constexpr (std::is_void_v<typename offloaded<Function>::value>) {
      job_->out.take();
    } else {
      return job_->out.take();
    }
  }

 private:
  offloaded<Function>* job_;
};

}  // namespace detail

// co_await offload(f): calls f() on a thread of its own, for work that blocks or takes long, and gives its value. Other
// tasks go on meanwhile. Suspends until f is over; goes on on the same executor.
//
// Cancellation: none; a stop changes nothing, and a task that is destroyed meanwhile waits for f first. f must not
// touch the executor, but for post() and request_stop(), nor a bus that is used by others. What it refers to stays
// until it is over. A thread is made for each call, about 30 µs. Throws what f throws, std::system_error if there is no
// thread, and std::logic_error in a forked child, on an executor of its parent.
//
// With GCC 12, give a function with captures a name first: `auto f = [&] {...}; co_await offload(std::move(f));`.
template <class Function>
task<std::invoke_result_t<Function&>> offload(Function f) {
  detail::offload_awaiter<Function> running(new detail::offloaded<Function>(std::move(f)));
  co_return co_await running;
}

}  // namespace quoit::inline v1
