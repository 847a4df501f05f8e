// Executors on threads of their own, as one object: as a rule, one for each CPU.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

#include "quoit/detail/export.hpp"
#include "quoit/executor.hpp"

namespace quoit::inline v1 {

struct executor_group_options {
  // How many, at most 1024. 0: one for each CPU that the calling thread may run on (sched_getaffinity).
  std::uint32_t count = 0;
  // Each thread stays on one of those CPUs, in turn. False: wherever the kernel puts it.
  bool pin = true;
  executor_options executor{};  // of each
};

namespace detail {

struct executor_group_state;

// That there is work: the threads of a group do not end as long as there is one.
class QUOIT_EXPORT group_work {
 public:
  // Throws std::logic_error: the group has ended, or is about to.
  explicit group_work(executor_group_state& of);
  group_work(group_work&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
  group_work& operator=(group_work&&) = delete;
  ~group_work() {
    if (of_ != nullptr) over();
  }
  void failed(std::exception_ptr why) const noexcept;

 private:
  void over() noexcept;
  executor_group_state* of_;
};

}  // namespace detail

// Executors that run from the beginning, each on a thread of its own, until join(). Move-only.
//
// Everything that is said of one executor holds for each of them: what belongs to a task, and a bus with all that was
// opened from it, stays on its thread. From one to another goes what is posted, a task and its value (run_on()), and
// messages: a topic takes a message from thread to thread the way it takes one to another process, without a copy.
//
// A task, or something posted, that throws asks everything to stop; join() throws the first such exception.
//
// Its threads inherit the signal mask of whoever creates it: block what quoit::signal_set is to have before that.
// Thread safety: spawn(), post() and request_stop() may be called by any thread that does not outlive it; the others by
// one at a time. After a fork a child's copy is good for nothing but being destroyed.
class QUOIT_EXPORT executor_group {
 public:
  // The threads run when this returns. Errors: as executor::create(); invalid_argument (count), limit_reached (also
  // threads), system (a CPU that a thread cannot be kept on).
  static result<executor_group> create(const executor_group_options& options = {});
  executor_group(executor_group&&) noexcept;
  executor_group& operator=(
      executor_group&&) noexcept;  // asks the tasks of the one that is replaced to stop, and joins
  // Asks the tasks that are left to stop, and waits for them. Not on one of its threads.
  ~executor_group();

  std::size_t size() const noexcept;
  // Requires: i < size(). Of another thread than its own only spawn(), post(), request_stop() and the counters are to
  // be called; and what it is given there, and not by the group, is lost if the group has ended by then.
  executor& operator[](std::size_t i) const noexcept;
  // The CPU that its thread is kept on; -1: none.
  int cpu(std::size_t i) const noexcept;

  // A task that nobody awaits, on executor i. It begins in that loop. Throws std::bad_alloc, std::logic_error (after
  // join(), or in a forked child).
  void spawn(std::size_t i, task<void> work) {
    auto counted = count(std::move(work), begin());
    (*this)[i].spawn(std::move(counted));
  }
  // The same; `make(executor&)` gives the task, and is called on the thread of that executor: for what is opened there
  // first. What it refers to outlives the task.
  template <class Make>
    requires std::convertible_to<std::invoke_result_t<Make&, executor&>, task<void>>
  void spawn(std::size_t i, Make make) {
    executor& where = (*this)[i];
    where.post([this_state = state_.get(), &where, made_by = std::move(make), here = begin()]() mutable {
      where.spawn(count(made_by(where), detail::group_work(*this_state)));
    });
  }
  // The same on each of them: `make(executor&, i)` is called once on each thread, of a copy for each.
  template <class Make>
    requires std::convertible_to<std::invoke_result_t<Make&, executor&, std::size_t>, task<void>>
  void spawn_on_each(const Make& make) {
    for (std::size_t i = 0; i < size(); ++i) {
      spawn(i, [make, i](executor& where) mutable { return make(where, i); });
    }
  }
  // Calls it on the thread of executor i. Throws as spawn().
  template <class Function>
  void post(std::size_t i, Function call) {
    (*this)[i].post([function = std::move(call), here = begin()]() mutable { function(); });
  }

  // Asks all tasks to stop, on all of them, and those that come later too. Also from a signal handler.
  void request_stop() noexcept;
  // Waits until nothing is left that was spawned or posted, and ends the threads. Throws the first exception that left
  // a task, once all are over; std::logic_error on one of its own threads, and in a forked child. Again is nothing.
  void join();

 private:
  explicit executor_group(std::unique_ptr<detail::executor_group_state> state) noexcept;
  detail::group_work begin() const;
  static task<void> count(task<void> work, detail::group_work here) {
    try {
      co_await std::move(work);
    } catch (...) {
      here.failed(std::current_exception());
    }
  }
  void leave() noexcept;

  std::unique_ptr<detail::executor_group_state> state_;
};

}  // namespace quoit::inline v1
