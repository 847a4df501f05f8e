// One thread that waits for messages, sockets, files, timers and signals in one place.
#pragma once

#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "quoit/detail/exec/group.hpp"
#include "quoit/detail/exec/root.hpp"
#include "quoit/options.hpp"
#include "quoit/result.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

namespace detail {
struct executor_group_state;
}

// Runs tasks on the thread that calls run(). The first such call decides which thread that is. Move-only.
//
// Destroying it cancels what is in flight, waits until the kernel has let go of it, and destroys the tasks that are
// left, wherever they are suspended. On another thread than its own, when that one does not run it any more, it may be
// destroyed unless a task is left in an operation of io.hpp: the kernel lets no other thread cancel that, and the
// process is aborted.
class executor {
 public:
  // On io_uring; or on epoll, where the kernel or a sandbox refuses io_uring, or the options or QUOIT_ENGINE say so.
  // Errors: limit_reached (descriptors), invalid_argument, system; if io_uring was asked for also no_permission (it is
  // forbidden here) and no_space (memory). The words say what to do.
  static result<executor> create(const executor_options& options = {}) {
    auto made = detail::loop::create(options);
    if (!made) return tl::make_unexpected(std::move(made.error()));
    return executor(std::move(*made));
  }

  // Runs the task to its end, and what else is spawned meanwhile. Its value; an exception that leaves it is thrown. One
  // that leaves a spawned task, or what was posted, asks everything to stop, and is thrown when this task is over; if
  // this task throws too, only its own is.
  //
  // Throws std::logic_error if this thread may not run it: it belongs to another one, runs already, or this is a
  // forked child; std::runtime_error if the kernel refuses. The task is destroyed then, and has not begun.
  // If a task forks, this goes on in the child, too: it returns there when this task is over, and throws
  // std::logic_error when nothing is left but what waits for something that only the parent has (docs/processes.md).
  template <class T>
  T run(task<T> work) {
    check();
    detail::outcome<T> out;
    main_task main;
    detail::root::spawn(into(std::move(work), out), *state_->where, state_->where->stopping().token(), main,
                        state_->where->roots());
    const bool over = state_->where->run([](void* m) { return static_cast<main_task*>(m)->over; }, &main);
    const std::exception_ptr spawned = std::exchange(state_->exception, nullptr);
    if (!over) throw_stranded();
    if (out.exception) std::rethrow_exception(out.exception);
    if (spawned) std::rethrow_exception(spawned);
    if constexpr (!std::is_void_v<T>) return std::move(*out.value);
  }
  // Runs until no spawned task is left. Throws as the other one.
  void run() {
    check();
    const bool over = state_->where->run(
        [](void* s) {
          const auto& where = static_cast<state*>(s)->where;
          return where->roots() == nullptr && where->nothing_posted();
        },
        state_.get());
    if (!over) throw_stranded();
    if (state_->exception) std::rethrow_exception(std::exchange(state_->exception, nullptr));
  }

  // ---- in a loop that is not quoit's ----
  // A descriptor for that loop (poll, epoll, Asio, ...), which calls poll() when it is readable. Level-triggered, and
  // readable at first: there is no need to call poll() before. One descriptor for all tasks, topics, sockets and timers
  // of this executor. Do not read from it, write to it or close it; take it out of the loop before the executor goes.
  // Takes three descriptors. Errors: forked, wrong_thread, limit_reached (descriptors), system.
  result<int> fd() { return state_->where->descriptor(); }
  // Runs what is ready, at most 32 turns of it, and leaves everything armed, so that fd() is readable when there is
  // more. Never blocks, and does not spin. On one thread: the first call of this or of run() decides which; both may be
  // mixed. True while there are tasks, or work that was posted; false in a child that one of its tasks has forked.
  // Throws as run(): also what leaves a spawned task.
  bool poll() {
    check("poll");
    state_->where->poll();
    if (state_->exception) std::rethrow_exception(std::exchange(state_->exception, nullptr));
    return !state_->where->forked() && (state_->where->roots() != nullptr || !state_->where->nothing_posted());
  }

  // A task that nobody awaits. Any thread; it begins in the loop. Its stop token is that of the executor. Throws as
  // post().
  void spawn(task<void> work) {
    if (detail::loop::current() == state_->where.get()) {
      return detail::root::spawn(std::move(work), *state_->where, state_->where->stopping().token(), *state_,
                                 state_->where->roots());
    }
    state* const s = state_.get();
    post([s, held = std::move(work)]() mutable {
      detail::root::spawn(std::move(held), *s->where, s->where->stopping().token(), *s, s->where->roots());
    });
  }

  // Calls it on the executor's thread. Any thread. It allocates; no system call unless the loop sleeps. What is not
  // called before the executor goes is destroyed with it. Throws std::bad_alloc, and std::logic_error in a forked
  // child; then nothing was posted.
  template <class Function>
  void post(Function call) {
    struct work : detail::posted {
      explicit work(Function f, state* s) : function(std::move(f)), owner(s) {}
      Function function;
      state* owner;
    };
    auto made = std::make_unique<work>(std::move(call), state_.get());
    made->call = [](detail::posted& p) noexcept {
      const std::unique_ptr<work> w(static_cast<work*>(&p));
      try {
        w->function();
      } catch (...) {
        w->owner->root_is_over(std::current_exception());
      }
    };
    made->discard = [](detail::posted& p) noexcept { delete static_cast<work*>(&p); };
    state_->where->post(*made);
    static_cast<void>(made.release());
  }

  // Asks every task to stop that was given to run() or spawn(), and what they wait for. Any thread, and a signal
  // handler; allocates nothing. If nothing runs, it is the next run that is stopped.
  // It is over with the run that leaves no task: what is run after that is not stopped.
  void request_stop() noexcept { state_->where->request_stop(); }

  // What it stands on: "io_uring, deferred completions" where the kernel has all that is asked for; on epoll, also why.
  const char* describe() const noexcept { return state_->where->describe(); }
  // Times that it slept in the kernel.
  std::uint64_t sleeps() const noexcept { return state_->where->sleeps(); }
  // Calls of io_uring_enter, or those that its engine on epoll makes; sleeps are among them.
  std::uint64_t system_calls() const noexcept { return state_->where->enters(); }

  detail::loop& loop() const noexcept { return *state_->where; }

 private:
  friend struct detail::executor_group_state;
  struct state final : detail::root_owner {
    explicit state(std::unique_ptr<detail::loop> l) noexcept : where(std::move(l)) {}
    ~state() {
      if (where->left_behind()) static_cast<void>(where.release());
    }
    void root_is_over(std::exception_ptr thrown) noexcept override {
      if (thrown == nullptr || exception != nullptr) return;
      exception = std::move(thrown);
      where->stopping().request_stop();
    }
    std::exception_ptr exception;
    std::unique_ptr<detail::loop> where;
  };
  struct main_task final : detail::root_owner {
    void root_is_over(std::exception_ptr) noexcept override { over = true; }
    bool over = false;
  };

  explicit executor(std::unique_ptr<detail::loop> where) : state_(std::make_unique<state>(std::move(where))) {}

  template <class T>
  static task<void> into(task<T> work, detail::outcome<T>& out) {
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
  }
  // Until `over()`, or until something that was spawned throws. Throws that, and as run().
  template <class Over>
  void run_until(Over over) {
    check();
    auto ends = [&] { return state_->exception != nullptr || over(); };
    if (!state_->where->run([](void* e) { return (*static_cast<decltype(ends)*>(e))(); }, &ends)) throw_stranded();
    if (state_->exception) std::rethrow_exception(std::exchange(state_->exception, nullptr));
  }
  [[noreturn]] static void throw_stranded() {
    throw std::logic_error("quoit::executor::run: in a forked child, and what is left waits for its parent's executor");
  }
  // Before the loop knows of a task whose result lies in the caller's frame.
  void check(const char* call = "run") {
    const auto ok = state_->where->bind();
    if (ok) return;
    const std::string words = std::string("quoit::executor::") + call + ": " + ok.error().message();
    if (ok.error() == errc::system) throw std::runtime_error(words);
    throw std::logic_error(words);
  }

  std::unique_ptr<state> state_;
};

// Runs one task on an executor of its own, and blocks this thread until it is over. Throws what the task throws, and
// std::runtime_error if there can be no executor.
template <class T>
T sync_wait(task<T> work, const executor_options& options = {}) {
  auto ex = executor::create(options);
  if (!ex) throw std::runtime_error("quoit::sync_wait: " + ex.error().message());
  return ex->run(std::move(work));
}

}  // namespace quoit::inline v1
