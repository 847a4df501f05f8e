// A coroutine that computes one value, started by whoever awaits it.
#pragma once

#include <cassert>
#include <exception>
#include <optional>
#include <utility>

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/promise.hpp"

namespace quoit::inline v1 {

namespace detail {

template <class T>
class task_result {
 public:
  template <class U>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }
  T take() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
  std::exception_ptr exception_;
};

template <>
class task_result<void> {
 public:
  void return_void() const noexcept {}
  void unhandled_exception() noexcept { exception_ = std::current_exception(); }
  void take() {
    if (exception_) std::rethrow_exception(std::exchange(exception_, nullptr));
  }

 private:
  std::exception_ptr exception_;
};

}  // namespace detail

// Lazy: it begins when it is awaited, on the thread of whoever awaits it, and goes on there. It inherits the executor
// and the stop token of whoever awaits it. Move-only; awaited once.
//
// An exception that leaves the coroutine is thrown where it is awaited. A task that goes before it is over is
// destroyed where it stands, and so is what it awaits: an operation in flight is cancelled first, and the destructor
// waits until the kernel has let go of its memory.
//
// Frames are aligned as operator new aligns: neither its value nor a local variable may ask for more.
//
// With GCC 12, mind what it miscompiles: in a co_await expression no lambda with captures as a temporary, no aggregate
// with members that have destructors, and no `co_await (c ? f() : g())`; and no co_await in the condition of an if or
// while that comes before any local variable, which is found when the coroutine is made (docs/design/executor.md).
template <class T = void>
class [[nodiscard]] task {
 public:
  class promise_type : public detail::promise_base, public detail::task_result<T> {
   public:
    task get_return_object() noexcept {
      static_assert(alignof(promise_type) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__, "the value of a task is over-aligned");
      return task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    detail::final_awaiter final_suspend() const noexcept { return {}; }
  };

  task() = default;  // empty: not to be awaited
  task(task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~task() {
    if (handle_) handle_.destroy();
  }

  explicit operator bool() const noexcept { return handle_ != nullptr; }

  class awaiter {
   public:
    explicit awaiter(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> parent) noexcept {
      const detail::promise_base& above = detail::promise_of(parent);
      detail::promise_base& child = handle_.promise();
      child.then(parent);
      child.run_on(above.loop(), above.stop());
      return child.transfer(handle_);
    }
    T await_resume() { return handle_.promise().take(); }

   private:
    std::coroutine_handle<promise_type> handle_;
  };
  // Requires: not empty.
  awaiter operator co_await() const& noexcept = delete;
  awaiter operator co_await() && noexcept {
    assert(handle_ && "an empty task is awaited");
    return awaiter(handle_);
  }

 private:
  explicit task(std::coroutine_handle<promise_type> handle) noexcept : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

}  // namespace quoit::inline v1
