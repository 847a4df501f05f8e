// A writer that waits for space, as those see it who make some: readers that move, and who frees a slot for others.
#pragma once

#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

// After a fence that follows the store of a slot. True: the writer waits, and it is for the caller to ring it (C1).
inline bool take_waiting(lane_slots& slots) {
  // relaxed: ordered by the fence; the exchange decides
  if (load_relaxed(slots.waiting) == 0) return false;
  // sync(lane.waiting): whoever takes the 1 rings, once
  return exchange(slots.waiting, 0) == 1;
}

// Frees the slot of a subscription that left or is dead, which is a move (C3): the caller rings the writer, whether it
// waits or not.
inline void free_slot(lane_slots& slots, u32 slot) {
  const u64 bit = u64{1} << (slot % 64);
  // sync(lane.active): the leaver's loads, if it lives, come before the writer's stores
  fetch_and(slots.reliable_active[slot / 64], ~bit);
  fetch_and(slots.lossy_active[slot / 64], ~bit);
  store_release(slots.slot[slot].place, 0);  // sync(lane.release): as above
}

}  // namespace quoit::inline v1::detail
