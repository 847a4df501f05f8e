// What `co_await publisher.loan()` awaits.
#pragma once

#include <new>

#include "quoit/detail/bus_waits.hpp"
#include "quoit/detail/coroutine.hpp"
#include "quoit/loan.hpp"

namespace quoit::inline v1 {

namespace detail {

template <class T>
class loan_awaiter {
 public:
  loan_awaiter(publisher_core& core, u32 payload_bytes, bool constructs) noexcept
      : core_(core), constructs_(constructs), out_(tl::in_place), wait_(core, payload_bytes, out_->claim_) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return wait_.begin(promise_of(h), h);
  }
  result<loan<T>> await_resume() noexcept {
    if (!wait_.end()) {
      out_ = tl::make_unexpected(wait_.why());
    } else {
      out_->core_ = &core_;
      if constexpr (!variable_size<T>) {
        if (constructs_) ::new (static_cast<void*>(out_->claim_.payload)) T();
      }
    }
    return std::move(out_);
  }

 private:
  publisher_core& core_;
  bool constructs_;
  result<loan<T>> out_;
  space_wait wait_;
};

template <class T>
class loan_operation {
 public:
  loan_operation(publisher_core& core, u32 payload_bytes, bool constructs) noexcept
      : core_(&core), payload_bytes_(payload_bytes), constructs_(constructs) {}
  loan_awaiter<T> operator co_await() const noexcept { return loan_awaiter<T>(*core_, payload_bytes_, constructs_); }

 private:
  publisher_core* core_;
  u32 payload_bytes_;
  bool constructs_;
};

}  // namespace detail

}  // namespace quoit::inline v1
