#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "quoit/detail/export.hpp"
#include "quoit/result.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

// Signals as something to await. As long as it lives, they are blocked in the thread that made it, and come here
// instead; threads that are made meanwhile inherit that, those that were there before must block them themselves.
class QUOIT_EXPORT signals {
 public:
  // Errors: invalid_argument (no such signal, or one that cannot be blocked), limit_reached (descriptors), system.
  static result<signals> open(std::initializer_list<int> numbers);
  signals(signals&& other) noexcept : fd_(std::exchange(other.fd_, -1)), added_(other.added_) {}
  signals& operator=(signals&&) = delete;
  ~signals();

  // The next signal's number. Suspends until there is one. Errors: cancelled, system.
  task<result<int>> next();

 private:
  explicit signals(int fd, std::uint64_t added) noexcept : fd_(fd), added_(added) {}
  int fd_;
  std::uint64_t added_;  // bit n: signal n was not blocked before
};

}  // namespace quoit::inline v1
