// The bits of a topic's subscriptions that want to be woken, as its publishers see them.
#pragma once

#include "quoit/detail/atomic.hpp"

namespace quoit::inline v1::detail {

// After something became visible: fences, then looks whether anybody is to be woken for it (B1).
[[gnu::always_inline]] inline bool anybody_armed(const u64* armed, u32 words) {
  // sync(wake.commit): either the subscriber's last look sees the commit, or we see its armed bit
  QUOIT_RULE(B3_commit_fence) full_fence();
  for (u32 i = 0; i < words; ++i) {
    // relaxed: ordered by the fence; bits are taken by a read-modify-write
    if (load_relaxed(armed[i]) != 0) [[unlikely]]
      return true;
  }
  return false;
}

}  // namespace quoit::inline v1::detail
