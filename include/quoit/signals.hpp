#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "quoit/detail/export.hpp"
#include "quoit/detail/fork_epoch.hpp"
#include "quoit/result.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

// Signals as something to await. As long as it lives, they are blocked in the thread that made it, and come here
// instead; threads that are made meanwhile inherit that, those that were there before must block them themselves.
// Several may name one signal: it comes to one of them, and is blocked until the last of them goes. One that is pending
// then is delivered. Goes on the thread that made it, after the tasks that await it.
class QUOIT_EXPORT signal_set {
 public:
  // Errors: invalid_argument (no such signal, or one that cannot be blocked), limit_reached (descriptors), system.
  static result<signal_set> open(std::initializer_list<int> numbers);
  signal_set(signal_set&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)), numbers_(other.numbers_), epoch_(other.epoch_) {}
  signal_set& operator=(signal_set&&) = delete;
  ~signal_set();

  // The next signal's number. Suspends until there is one. Errors: cancelled, forked, system.
  task<result<int>> next();

 private:
  explicit signal_set(int fd, std::uint64_t numbers) noexcept : fd_(fd), numbers_(numbers) {}
  int fd_;
  std::uint64_t numbers_;  // bit n: signal n
  std::uint32_t epoch_ = detail::fork_epoch;
};

}  // namespace quoit::inline v1
