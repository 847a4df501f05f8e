#include "quoit/counters.hpp"

#include "base/call_counts.hpp"

namespace quoit::inline v1 {

counters process_counters() noexcept {
  const detail::call_counts& c = detail::calls_made;
  // relaxed: counters
  const auto order = std::memory_order_relaxed;
  return {c.sends.load(order),  c.receives.load(order), c.looks.load(order),
          c.sleeps.load(order), c.wakes.load(order),    c.enters.load(order),
          c.others.load(order), c.copies.load(order),   c.copied_bytes.load(order)};
}

}  // namespace quoit::inline v1
