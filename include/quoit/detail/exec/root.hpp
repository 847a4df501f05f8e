// A coroutine that nobody awaits: it holds a task, runs it to its end, and says so to its owner.
#pragma once

#include <exception>
#include <utility>

#include "quoit/detail/coroutine.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1::detail {

// In the list of the loop or scope that destroys it.
struct root_link {
  std::coroutine_handle<> handle{};
  root_link** before = nullptr;
  root_link* next = nullptr;

  void link(root_link*& list) noexcept {
    next = list;
    before = &list;
    if (next != nullptr) next->before = &next;
    list = this;
  }
  void unlink() noexcept {
    *before = next;
    if (next != nullptr) next->before = before;
    before = nullptr;
  }
};

// Whose tasks these are.
class root_owner {
 public:
  // The task is over: it left no exception if `exception` is empty. Its frame is destroyed later.
  virtual void root_is_over(std::exception_ptr exception) noexcept = 0;

 protected:
  ~root_owner() = default;
};

class root {
 public:
  class promise_type : public promise_base {
   public:
    root get_return_object() noexcept { return root(this); }
    auto final_suspend() noexcept {
      struct goodbye {
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<promise_type> self) const noexcept { self.promise().end(); }
        void await_resume() const noexcept {}
      };
      return goodbye{};
    }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { exception_ = std::current_exception(); }
    ~promise_type() {
      if (start_.queued()) loop()->forget(start_);
    }

   private:
    friend class root;
    std::coroutine_handle<> self() noexcept { return std::coroutine_handle<promise_type>::from_promise(*this); }
    void end() noexcept {
      link_.unlink();
      start_.handle = self();
      loop()->retire(start_);
      owner_->root_is_over(std::move(exception_));
    }

    root_link link_;
    ready_node start_;
    root_owner* owner_ = nullptr;
    std::exception_ptr exception_;
  };

  static void spawn(task<void> work, loop& where, const stop_token& stop, root_owner& owner, root_link*& list) {
    const root made = hold(std::move(work));
    promise_type& promise = *made.promise_;
    promise.run_on(&where, stop);
    promise.owner_ = &owner;
    promise.link_.handle = promise.self();
    promise.link_.link(list);
    promise.start_.handle = promise.self();
    where.make_ready(promise.start_);
  }
  static void destroy_all(root_link*& list) noexcept {
    while (list != nullptr) {
      root_link& first = *list;
      first.unlink();
      first.handle.destroy();
    }
  }

 private:
  explicit root(promise_type* promise) noexcept : promise_(promise) {}
  static root hold(task<void> work) {
    // Goes before the owner hears that it is over: what a task was given does not outlive a join.
    task<void> mine = std::move(work);
    co_await std::move(mine);
  }

  promise_type* promise_;
};

}  // namespace quoit::inline v1::detail
