// Several tasks at once, and one coroutine that waits for all of them to be over.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <variant>

#include "quoit/detail/coroutine.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1::detail {

template <class T>
using non_void = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

// What became of a task.
template <class T>
struct outcome {
  std::optional<non_void<T>> value;
  std::exception_ptr exception;

  non_void<T> take() {
    if (exception) std::rethrow_exception(exception);
    return std::move(*value);
  }
};

class alarm;

struct group {
  linked_stop stop;
  alarm* limit = nullptr;
  bool stop_at_first = false;  // else only at the first that throws
  std::size_t first = ~std::size_t{0};
  std::size_t running = 0;
  std::coroutine_handle<> waiting = std::noop_coroutine();

  void note(std::size_t index, bool threw) noexcept {
    if (first == ~std::size_t{0}) {
      first = index;
      if (stop_at_first) stop.source.request_stop();
    }
    if (threw) stop.source.request_stop();
  }
};

// Runs one of the tasks; lies in the frame of whoever waits.
class [[nodiscard]] member_task {
 public:
  class promise_type : public promise_base {
   public:
    member_task get_return_object() noexcept { return member_task(this); }
    auto final_suspend() noexcept {
      struct arrive {
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) const noexcept {
          promise_type& p = self.promise();
          return --p.group_->running == 0 ? p.transfer(p.group_->waiting) : std::noop_coroutine();
        }
        void await_resume() const noexcept {}
      };
      return arrive{};
    }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }  // run() lets none out
    ~promise_type() {
      if (start_.queued()) loop()->forget(start_);
    }

   private:
    friend class member_task;
    std::coroutine_handle<> self() noexcept { return std::coroutine_handle<promise_type>::from_promise(*this); }
    ready_node start_;
    group* group_ = nullptr;
  };

  member_task(member_task&& other) noexcept : promise_(std::exchange(other.promise_, nullptr)) {}
  member_task& operator=(member_task&&) = delete;
  ~member_task() {
    if (promise_ != nullptr) promise_->self().destroy();
  }

  template <class T>
  static member_task run(task<T> work, outcome<T>& out, group& g, std::size_t index) {
    begins(g);
    try {
      if constexpr (std::is_void_v<T>) {
        co_await std::move(work);
        out.value.emplace();
      } else {
        out.value.emplace(co_await std::move(work));
      }
    } catch (...) {
      out.exception = std::current_exception();
    }
    g.note(index, out.exception != nullptr);
  }

  void start(group& g, detail::loop& where) noexcept {
    promise_type& p = *promise_;
    p.group_ = &g;
    p.run_on(&where, g.stop.source.token());
    p.start_.handle = p.self();
    ++g.running;
    where.make_ready(p.start_);
  }

 private:
  static void begins(group& g) noexcept;
  explicit member_task(promise_type* promise) noexcept : promise_(promise) {}
  promise_type* promise_;
};

// A timer that requests a stop.
class alarm : public timer {
 public:
  alarm(group& g, std::chrono::nanoseconds limit) noexcept : group_(g), limit_(limit) {
    call = [](timer& t) noexcept { static_cast<alarm&>(t).group_.stop.source.request_stop(); };
  }
  ~alarm() {
    if (loop_ != nullptr) loop_->remove(*this);
  }
  alarm(const alarm&) = delete;
  alarm& operator=(const alarm&) = delete;
  // From now on the time runs.
  void start(loop& where) noexcept {
    loop_ = &where;
    at_ns = loop::ns_from_now(limit_);
    group_.limit = this;
  }
  // It goes off from here on, and not before the task has begun: what is there by then it finds, however long it had to
  // wait for its turn.
  void arm() noexcept { loop_->add(*this); }

 private:
  group& group_;
  std::chrono::nanoseconds limit_;
  loop* loop_ = nullptr;
};

inline void member_task::begins(group& g) noexcept {
  if (g.limit != nullptr) std::exchange(g.limit, nullptr)->arm();
}

// co_await gather(...): starts the children and resumes when the last one is over.
class gather {
 public:
  gather(group& g, std::span<member_task> children, alarm* limit = nullptr) noexcept
      : group_(g), children_(children), limit_(limit) {}
  bool await_ready() const noexcept { return children_.empty(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> parent) noexcept {
    group_.waiting = parent;
    const promise_base& promise = promise_of(parent);
    group_.stop.follow(promise.stop());
    for (member_task& c : children_) c.start(group_, *promise.loop());
    if (limit_ != nullptr) limit_->start(*promise.loop());
  }
  void await_resume() const noexcept {}

 private:
  group& group_;
  std::span<member_task> children_;
  alarm* limit_;
};

}  // namespace quoit::inline v1::detail
