#pragma once

#include <algorithm>
#include <chrono>

namespace quoit::inline v1::detail {

// A call that an executor makes does not wait: it looks, and looks again after a pause in which other tasks run.
inline constexpr std::chrono::nanoseconds without_waiting{0};
inline constexpr std::chrono::milliseconds between_attempts{1};
// Of opening a topic on disk that is moved again and again meanwhile.
inline constexpr int open_attempts_max = 100;

// A point on the steady clock; a timeout longer than a year is one of a year.
class deadline {
 public:
  explicit deadline(std::chrono::nanoseconds timeout) noexcept
      : end_(std::chrono::steady_clock::now() +
             std::clamp<std::chrono::nanoseconds>(timeout, std::chrono::nanoseconds(0), std::chrono::hours(24 * 365))) {
  }

  std::chrono::nanoseconds left() const noexcept {
    return std::max<std::chrono::nanoseconds>(end_ - std::chrono::steady_clock::now(), std::chrono::nanoseconds(0));
  }
  bool over() const noexcept { return std::chrono::steady_clock::now() >= end_; }

 private:
  std::chrono::steady_clock::time_point end_;
};

}  // namespace quoit::inline v1::detail
