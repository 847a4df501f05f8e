// One round of sleeping, for a thread that waits by itself: the order of its steps, whatever they are made of.
//
// The models run these functions, and leave out one step after another. The loop of an executor does the same in two
// halves (src/bus/bus_loop.cpp), as it sleeps by other means.
#pragma once

#include "wake/doorbell.hpp"

namespace quoit::inline v1::detail {

// Sleeps until one of the subscriptions that `arm` arms may have something (B2 to B4). `look` looks at everything that
// is awaited, the table of publishers first; `any_ready` and `take_ready` are of the node; `sleep(nap&)` may also find
// that there is no time left. True: the last look found something.
template <class Arm, class Look, class AnyReady, class Sleep, class TakeReady>
bool doze(doorbell& bell, Arm&& arm, Look&& look, AnyReady&& any_ready, Sleep&& sleep, TakeReady&& take_ready) {
  // Everything awaited is armed before `sleeping` is set: one fence is enough for both.
  QUOIT_RULE(B2_arm_before_sleeping) arm();
  {
    nap pause(bell);
    if (!QUOIT_RULE_ON(B2_arm_before_sleeping)) arm();
    const bool found = QUOIT_RULE_ON(B2_look_again) && look();
    // What was fired by somebody whose wake came before `sleeping`: nobody will ring for it again.
    const bool fired = QUOIT_RULE_ON(B2_ready_before_sleep) && any_ready();
    if (!found && !fired) sleep(pause);
  }
  // Taken before the lanes are looked at: what is fired from now on is for the next round.
  QUOIT_RULE(B2_take_before_look) take_ready();
  const bool found = look();
  if (!QUOIT_RULE_ON(B2_take_before_look)) take_ready();
  return found;
}

// Sleeps until a reader moves (C2). `announce(bool)` sets and clears `waiting`; `would_grant` scans the slots again.
template <class Announce, class WouldGrant, class Sleep>
void doze_for_space(doorbell& bell, Announce&& announce, WouldGrant&& would_grant, Sleep&& sleep) {
  nap pause(bell);
  announce(true);
  // sync(lane.waiting): either a reader that moves sees `waiting`, or our look sees its slot (C2)
  QUOIT_RULE(C2_writer_fence) full_fence();
  const bool granted = QUOIT_RULE_ON(C2_scan_again) && would_grant();
  if (!granted) sleep(pause);
  announce(false);
}

// The same for who does not sleep here, but goes back to a loop that is told by a descriptor. `clear` takes what was
// written to it; `announce` sets `waiting`. False: there is no space, and whoever makes some writes (C5).
template <class Clear, class Announce, class WouldGrant>
bool ask_for_space(Clear&& clear, Announce&& announce, WouldGrant&& would_grant) {
  // What is written from now on is for a move that the look below may not see.
  QUOIT_RULE(C5_clear_first) clear();
  QUOIT_RULE(C5_announce_first) announce();
  // sync(lane.waiting): either a reader that moves sees `waiting`, or our look sees its slot (C2)
  QUOIT_RULE(C5_fence) full_fence();
  const bool granted = QUOIT_RULE_ON(C5_scan_again) && would_grant();
  if (!QUOIT_RULE_ON(C5_announce_first)) announce();
  if (!QUOIT_RULE_ON(C5_clear_first)) clear();
  return granted;
}

}  // namespace quoit::inline v1::detail
