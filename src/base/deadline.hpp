#pragma once

#include <algorithm>
#include <chrono>

namespace quoit::inline v1::detail {

// A point on the steady clock: so much later than now, and at the end of the clock at the latest.
class deadline {
 public:
  using clock = std::chrono::steady_clock;

  explicit deadline(std::chrono::nanoseconds timeout) noexcept {
    const clock::time_point now = clock::now();
    end_ = now +
           std::clamp<std::chrono::nanoseconds>(timeout, std::chrono::nanoseconds(0), clock::time_point::max() - now);
  }

  std::chrono::nanoseconds left() const noexcept {
    return std::max<std::chrono::nanoseconds>(end_ - clock::now(), std::chrono::nanoseconds(0));
  }
  bool over() const noexcept { return clock::now() >= end_; }

 private:
  clock::time_point end_;
};

}  // namespace quoit::inline v1::detail
