#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "quoit/detail/coroutine.hpp"
#include "quoit/executor.hpp"

namespace quoit::inline v1 {

namespace detail {

// A task on one executor for which a task on another one waits. Each side has a share of it; what is of both is used
// with the mutex held, under which either may post to the other's loop as long as that is there.
template <class T>
class remote_task final : public std::enable_shared_from_this<remote_task<T>> {
 public:
  remote_task(task<T> work, loop& there) noexcept : work_(std::move(work)), there_(&there) {
    stop_.call = [](posted& p) noexcept { static_cast<message&>(p).take()->stop_arrived(); };
    over_.call = [](posted& p) noexcept { static_cast<message&>(p).take()->over_arrived(); };
    stop_.discard = over_.discard = [](posted& p) noexcept { static_cast<message&>(p).take(); };
  }

  // ---- the thread of whoever waits ----
  void wait(loop& here, std::coroutine_handle<> who) noexcept {
    const std::lock_guard<std::mutex> hold(mutex_);
    waiting_.handle = who;
    here_ = &here;
  }
  // Whoever waits goes before the end, with its loop perhaps. The task is asked to stop, and goes on alone.
  void leave() noexcept {
    if (forked()) return here_->forget(waiting_);
    request_stop();
    const std::lock_guard<std::mutex> hold(mutex_);
    here_->forget(waiting_);
    here_ = nullptr;
  }
  // It comes behind the task itself.
  void request_stop() noexcept {
    if (forked()) {
      // The task is not there: whoever waits for it goes on.
      if (!waiting_.queued()) here_->make_ready(waiting_);
      return;
    }
    const std::lock_guard<std::mutex> hold(mutex_);
    if (there_ == nullptr || std::exchange(stop_sent_, true)) return;
    stop_.kept = this->shared_from_this();
    there_->post_surely(stop_);
  }
  T take() {
    if (forked()) throw std::logic_error("quoit::run_on: in a forked child, on executors of its parent");
    if (stage_ == stage::begins) throw std::bad_alloc();
    if (stage_ != stage::over) throw std::runtime_error("quoit::run_on: the other executor went before the task ended");
    if constexpr (std::is_void_v<T>) {
      out_.take();
    } else {
      return out_.take();
    }
  }

  // ---- the thread of the task ----
  // The share of that side: when it goes, the task is over, or will never be.
  class share {
   public:
    explicit share(std::shared_ptr<remote_task> of) noexcept : of_(std::move(of)) {}
    share(share&&) noexcept = default;
    share& operator=(share&&) = delete;
    ~share() {
      if (of_) of_->gone();
    }
    remote_task& operator*() const noexcept { return *of_; }

   private:
    std::shared_ptr<remote_task> of_;
  };
  static void begin(share mine) noexcept {
    struct nobody final : root_owner {
      void root_is_over(std::exception_ptr) noexcept override {}
    };
    static nobody owner;  // by the time that it is asked the task may be gone
    remote_task& self = *mine;
    loop& where = *self.there_;
    self.stopping_.follow(where.stopping().token());
    self.stage_ = stage::begins;
    try {
      root::spawn(run(std::move(mine)), where, self.stopping_.source.token(), owner, where.roots());
    } catch (...) {
      // No memory: with the share that was to go there, whoever waits has been told.
    }
  }

 private:
  enum class stage : std::uint8_t { posted, begins, runs, over };

  struct message : posted {
    std::shared_ptr<remote_task> kept;  // while it is on its way
    std::shared_ptr<remote_task> take() noexcept { return std::move(kept); }
  };

  static task<void> run(share mine) {
    remote_task& self = *mine;
    self.stage_ = stage::runs;
    task<T> work = std::move(self.work_);
    try {
      if constexpr (std::is_void_v<T>) {
        co_await std::move(work);
        self.out_.value.emplace();
      } else {
        self.out_.value.emplace(co_await std::move(work));
      }
    } catch (...) {
      self.out_.exception = std::current_exception();
    }
    self.stage_ = stage::over;
  }
  void stop_arrived() noexcept { stopping_.source.request_stop(); }
  void gone() noexcept {
    stopping_.unfollow();
    if (forked()) return;
    const std::lock_guard<std::mutex> hold(mutex_);
    there_ = nullptr;
    if (here_ == nullptr) return;
    over_.kept = this->shared_from_this();
    here_->post_surely(over_);
  }
  void over_arrived() noexcept {
    const std::lock_guard<std::mutex> hold(mutex_);
    if (here_ != nullptr) here_->make_ready(waiting_);
  }

  // In a child that was forked since: somebody whom the child does not have may hold the mutex.
  bool forked() const noexcept { return epoch_ != fork_epoch; }

  const std::uint32_t epoch_ = fork_epoch;
  // The thread of the task; and whoever waits, once it is over.
  task<T> work_;
  outcome<T> out_;
  linked_stop stopping_;
  stage stage_ = stage::posted;
  // Both.
  std::mutex mutex_;
  loop* there_;           // until the task has gone
  loop* here_ = nullptr;  // while somebody waits
  bool stop_sent_ = false;
  ready_node waiting_;
  message stop_;
  message over_;
};

template <class T>
class remote_awaiter : private stop_hook {
 public:
  remote_awaiter(task<T> work, executor& there)
      : stop_hook([](stop_hook& hook) noexcept { static_cast<remote_awaiter&>(hook).remote_->request_stop(); }),
        there_(there),
        remote_(std::make_shared<remote_task<T>>(std::move(work), there.loop())) {}
  ~remote_awaiter() {
    if (waits_) remote_->leave();
  }
  remote_awaiter(const remote_awaiter&) = delete;
  remote_awaiter& operator=(const remote_awaiter&) = delete;

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    const promise_base& above = promise_of(h);
    remote_->wait(*above.loop(), h);
    waits_ = true;
    typename remote_task<T>::share ours(remote_);
    there_.post([share = std::move(ours)]() mutable { remote_task<T>::begin(std::move(share)); });
    if (above.stop().stop_requested()) return remote_->request_stop();
    attach(above.stop());
  }
  T await_resume() {
    waits_ = false;
    detach();
    return remote_->take();
  }

 private:
  executor& there_;
  std::shared_ptr<remote_task<T>> remote_;
  bool waits_ = false;
};

}  // namespace detail

// co_await run_on(other, work): runs a task on another executor, and gives its value: `co_await run_on(group[1],
// count(text))`. Suspends until the task is over; goes on on the same executor. The other one may be this one.
//
// The task belongs to the other executor: what it awaits, it awaits there; what of this one's it is given (a bus, a
// subscriber, a sample, a scope) it does not use. Values go there as its parameters, and come back as its value.
//
// Cancellation: a stop of the awaiting task, and one of the other executor, reach the task, and what it answers is the
// answer. If the awaiting task is destroyed instead, the other is asked to stop and goes on alone: then what it was
// given references to has to live until it is over.
// Throws what the task throws; std::runtime_error if the other executor goes before the task is over; std::logic_error
// in a forked child, if one of the two executors is of before the fork; std::bad_alloc.
template <class T>
task<T> run_on(executor& other, task<T> work) {
  detail::remote_awaiter<T> running(std::move(work), other);
  co_return co_await running;
}

}  // namespace quoit::inline v1
