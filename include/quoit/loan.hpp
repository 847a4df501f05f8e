// A message that is being written, in shared memory, not yet published.
#pragma once

#include <cassert>
#include <cstddef>
#include <span>
#include <utility>

#include "quoit/detail/publisher_core.hpp"
#include "quoit/message.hpp"

namespace quoit::inline v1 {

namespace detail {
template <class>
class loan_awaiter;
}

// Move-only. publish() cannot fail: what can fail, failed when the loan was taken. A loan that goes without
// being published is abandoned; its sequence is spent, and no subscriber sees it.
//
// Messages become visible in the order in which their loans were taken: an old loan hides everything that the
// same publisher publishes after it. Loans should be short.
//
// Thread safety: the publisher's thread. After a fork, a child's copy does nothing.
template <class T>
class loan {
 public:
  loan() = default;  // empty
  loan(loan&& other) noexcept : core_(std::exchange(other.core_, nullptr)), claim_(other.claim_) {}
  loan& operator=(loan&& other) noexcept {
    if (this != &other) {
      drop();
      core_ = std::exchange(other.core_, nullptr);
      claim_ = other.claim_;
    }
    return *this;
  }
  ~loan() { drop(); }

  // False for a loan that is empty: it was moved from or published.
  explicit operator bool() const noexcept { return core_ != nullptr; }

  T& operator*() const noexcept
    requires(!variable_size<T>)
  {
    return *static_cast<T*>(static_cast<void*>(claim_.payload));
  }
  T* operator->() const noexcept
    requires(!variable_size<T>)
  {
    return static_cast<T*>(static_cast<void*>(claim_.payload));
  }

  // The bytes of the message, not initialised.
  std::span<std::byte> data() const noexcept { return {claim_.payload, claim_.payload_bytes}; }
  std::size_t size() const noexcept { return claim_.payload_bytes; }

  std::uint64_t sequence() const noexcept { return claim_.sequence; }

  // Makes the message visible, and wakes subscribers that sleep. No system call when nobody sleeps.
  void publish() && noexcept { std::exchange(core_, nullptr)->commit(claim_, claim_.payload_bytes); }

  // The same, cut to its first `used_bytes`. Requires: used_bytes <= size().
  void publish(std::size_t used_bytes) && noexcept
    requires variable_size<T>
  {
    assert(used_bytes <= claim_.payload_bytes);
    const std::size_t kept = used_bytes < claim_.payload_bytes ? used_bytes : claim_.payload_bytes;
    std::exchange(core_, nullptr)->commit(claim_, static_cast<std::uint32_t>(kept));
  }

 private:
  template <class>
  friend class publisher;
  template <class>
  friend class detail::loan_awaiter;
  void drop() noexcept {
    if (core_ != nullptr) std::exchange(core_, nullptr)->abandon(claim_);
  }

  detail::publisher_core* core_ = nullptr;
  detail::lane_claim claim_{};
};

}  // namespace quoit::inline v1
