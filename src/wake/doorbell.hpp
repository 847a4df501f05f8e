// Waking a node, and sleeping until one is woken.
//
// The waker takes `sleeping` by exchange: only who got the 1 counts the doorbell up and makes the system
// call, so nobody is woken who is awake and nobody is woken twice. Whatever the sleeper waits for was made
// visible before the waker looks at `sleeping`; the sleeper says that it sleeps before it looks for the last
// time. Either sees the other: a wake cannot fall between them.
//
// A waker that is killed between taking a bit and ringing takes that wake with it: sleepers have a recheck.
#pragma once

#include <chrono>

#include "base/futex.hpp"
#include "quoit/detail/bus_layout.hpp"

namespace quoit::inline v1::detail {

// Wakes the node if it sleeps. True if that took a system call. What it is woken for was stored before.
inline bool ring(doorbell& bell) {
  // sync(wake.sleeping): either we see `sleeping`, or the node's last look sees what we stored
  QUOIT_RULE(B3_ring_fence) full_fence();
  // relaxed: the fence orders it, the exchange decides
  if (load_relaxed(bell.sleeping) == 0) return false;
  // sync(wake.sleeping): whoever takes the 1 rings
  if (exchange(bell.sleeping, 0) != 1) return false;
  // sync(wake.bell): the kernel compares this word before it lets the node sleep
  fetch_add(bell.word, 1);
  futex_wake(bell.word);
  return true;
}

// Firing a subscription is taking its armed bit, then marking it ready in its node and ringing that node: in this
// order, for the bit may be set again by the time the node is rung. Who a bit belongs to is asked after it was taken.

// True: the bit was set, and it is for the caller to wake.
inline bool take_armed(u64& armed_word, u64 armed_bit) {
  // sync(wake.armed): whoever takes the bit wakes; what its owner wrote before it armed is visible to the taker
  return (fetch_and(armed_word, ~armed_bit) & armed_bit) != 0;
}

// True if that took a system call.
inline bool mark_and_ring(u64& ready_word, u64 ready_bit, doorbell& bell) {
  // sync(wake.ready): the commit that we fire for is visible to whoever takes this bit
  fetch_or(ready_word, ready_bit);
  return ring(bell);
}

// The sleeping side: set the armed bits, construct this, look at everything that could end the wait, sleep() if
// there is nothing. The one fence in here orders both the bits and `sleeping` before that look.
class nap {
 public:
  // sync(wake.bell): read before `sleeping` is set; a waker that counts up after that ends the wait.
  // relaxed: a stale value only makes the wait return at once
  explicit nap(doorbell& bell) : bell_(bell), seen_(load_relaxed(bell.word)) {
    // sync(wake.sleeping): release, for whoever learns of our wish to be woken from another word
    store_release(bell_.sleeping, 1);
    // sync(wake.sleeping): as in ring()
    // sync(wake.commit): either the look that follows sees the commit, or the publisher's look sees the armed bit
    QUOIT_RULE(B3_sleep_fence) full_fence();
  }
  ~nap() {
    // relaxed: a waker that still takes the 1 counts up a doorbell that we will read again
    store_relaxed(bell_.sleeping, 0);
  }
  nap(const nap&) = delete;
  nap& operator=(const nap&) = delete;

  // For who sleeps by other means: until the word is not this any more.
  const u32& word() const noexcept { return bell_.word; }
  u32 seen() const noexcept { return seen_; }

  void sleep(std::chrono::nanoseconds timeout) { futex_wait(bell_.word, seen_, timeout); }

 private:
  doorbell& bell_;
  u32 seen_;
};

}  // namespace quoit::inline v1::detail
