#pragma once

#include <cassert>
#include <exception>
#include <utility>

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/root.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

// Tasks that run beside the one that holds the scope, and are over when it goes on from join().
//
// If one throws, the others are asked to stop, and join() throws the first exception when all are over. A scope that
// goes with tasks running destroys them where they stand (see task); that is for exceptions on their way out: the rule
// is to join. A task of the scope must not be the one that destroys it. Thread safety: the executor's thread.
class scope final : private detail::root_owner {
 public:
  scope() = default;
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;
  ~scope() { detail::root::destroy_all(list_); }

  // The task begins when this one is suspended next. Requires: in a task of an executor.
  void spawn(task<void> work) {
    ++running_;
    try {
      detail::root::spawn(std::move(work), *detail::loop::current(), stop_.source.token(), *this, list_);
    } catch (...) {
      --running_;
      throw;
    }
  }
  // Asks all tasks to stop, those that come later too.
  void request_stop() noexcept { stop_.source.request_stop(); }
  std::size_t running() const noexcept { return running_; }

  class joining : private detail::ready_node {
   public:
    explicit joining(scope& s) noexcept : scope_(s) {}
    ~joining() {
      if (loop_ != nullptr) leave();
    }
    bool await_ready() const noexcept { return scope_.running_ == 0; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> h) noexcept {
      assert(scope_.joiner_ == nullptr && "two tasks join one scope");
      loop_ = detail::promise_of(h).loop();
      handle = h;
      scope_.joiner_ = this;
      scope_.stop_.follow(detail::promise_of(h).stop());
    }
    void await_resume() const {
      if (scope_.exception_) std::rethrow_exception(std::exchange(scope_.exception_, nullptr));
    }

   private:
    friend class scope;
    // The scope may be joined again, and may outlive the task that joined it, whose stop is none of its business then.
    void leave() noexcept {
      loop_->forget(*this);
      scope_.joiner_ = nullptr;
      scope_.stop_.unfollow();
    }
    scope& scope_;
    detail::loop* loop_ = nullptr;
  };
  // co_await s.join(): until no task is left; what they were given is gone then too. A stop of the awaiting task
  // reaches the tasks of the scope. Throws the first exception that one of them threw. One task at a time; again and
  // again, with other tasks in between.
  joining join() noexcept { return joining(*this); }

 private:
  void root_is_over(std::exception_ptr exception) noexcept override {
    if (exception != nullptr && exception_ == nullptr) {
      exception_ = std::move(exception);
      stop_.source.request_stop();
    }
    if (--running_ == 0 && joiner_ != nullptr) joiner_->loop_->make_ready(*joiner_);
  }

  detail::linked_stop stop_;
  detail::root_link* list_ = nullptr;
  std::size_t running_ = 0;
  std::exception_ptr exception_;
  joining* joiner_ = nullptr;
};

}  // namespace quoit::inline v1
