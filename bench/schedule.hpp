#pragma once

#include <sched.h>

#include <cstdint>

#include "floors/clock.hpp"
#include "row.hpp"

namespace bench {

// Turns that should begin at a fixed rate are timed from when they should have begun: one that had to wait for the one
// before it is not forgiven, nor is the first one of an order.
class schedule {
 public:
  void go_on(const order& what) {
    interval_ = what.rate > 0 ? 1e9 / what.rate / floors::ns_per_tick() : 0;
    yields_ = what.yields;
    if (what.first_turn == 0) begin_ = floors::ticks();
  }
  // Waits until the turn is due, and says since when it is.
  std::uint64_t wait_for(std::uint64_t turn) const {
    if (interval_ == 0) return floors::ticks();
    const std::uint64_t due = begin_ + static_cast<std::uint64_t>(interval_ * static_cast<double>(turn));
    while (floors::ticks() < due) {
      if (yields_) ::sched_yield();
    }
    return due;
  }

 private:
  double interval_ = 0;  // ticks
  bool yields_ = false;
  std::uint64_t begin_ = 0;
};

}  // namespace bench
