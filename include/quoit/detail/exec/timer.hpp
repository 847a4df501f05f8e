// A time at which somebody is made ready. A pairing heap, linked through the timers themselves.
#pragma once

#include <cstdint>

#include "quoit/detail/exec/ready_queue.hpp"
#include "quoit/detail/export.hpp"

namespace quoit::inline v1::detail {

struct timer : ready_node {
  std::int64_t at_ns = 0;  // of CLOCK_MONOTONIC
  bool in_heap = false;
  bool fired = false;
  // Called instead of making the coroutine ready, if set.
  void (*call)(timer&) noexcept = nullptr;

  timer* child = nullptr;
  timer* sibling = nullptr;
  timer* before = nullptr;  // the elder sibling, or the parent of a first child
};

class QUOIT_EXPORT timer_heap {
 public:
  bool empty() const noexcept { return root_ == nullptr; }
  // Requires: not empty.
  timer& first() const noexcept { return *root_; }
  void add(timer& t) noexcept;
  void remove(timer& t) noexcept;
  void clear() noexcept;

 private:
  static timer* merge(timer* a, timer* b) noexcept;
  static timer* merge_siblings(timer* first) noexcept;

  timer* root_ = nullptr;
};

}  // namespace quoit::inline v1::detail
