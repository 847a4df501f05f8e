// Waking a node, and sleeping until one is woken.
//
// The waker takes `sleeping` by exchange: only who got the 1 counts the doorbell up and makes the system
// call, so nobody is woken who is awake and nobody is woken twice. Whatever the sleeper waits for was made
// visible before the waker looks at `sleeping`; the sleeper says that it sleeps before it looks for the last
// time. Either sees the other: a wake cannot fall between them.
//
// A waker that is killed between taking a bit and ringing takes that wake with it: sleepers have a recheck.
#pragma once

#include <bit>
#include <chrono>

#include "base/futex.hpp"
#include "quoit/detail/bus_layout.hpp"

namespace quoit::inline v1::detail {

// Wakes the node if it sleeps. How it slept, if that took a system call, else 0. What it is woken for was stored
// before. A node that sleeps on its pipe is for the caller to wake: it has the pipe.
inline u32 ring(doorbell& bell) {
  // sync(wake.sleeping): either we see `sleeping`, or the node's last look sees what we stored
  QUOIT_RULE(B3_ring_fence) full_fence();
  // relaxed: the fence orders it, the exchange decides
  u32 how = load_relaxed(bell.sleeping);
  if (how == 0) return 0;
  // sync(wake.sleeping): whoever takes it rings
  if (QUOIT_RULE_ON(B2_exchange) && (how = exchange(bell.sleeping, 0)) == 0) return 0;
  // sync(wake.bell): the kernel compares this word before it lets the node sleep
  fetch_add(bell.word, 1);
  if (how != sleeps_on_pipe) futex_wake(bell.word);
  return how;
}

// Wakes the node, whether it says that it sleeps or not. For who speaks for the dead, one of whom may have taken
// `sleeping` and not rung; and for whatever is rare, as it makes a system call for those who are awake too.
inline void ring_anyway(doorbell& bell) {
  // sync(wake.bell): what the node is woken for is visible to whoever reads this number, and then fences
  fetch_add(bell.word, 1);
  futex_wake(bell.word);
}

// Firing a subscription is taking its armed bit, then marking it ready in its node and ringing that node: in this
// order, for the bit may be set again by the time the node is rung. Who a bit belongs to is asked after it was taken.

// True: the bit was set, and it is for the caller to wake.
inline bool take_armed(u64& armed_word, u64 armed_bit) {
  // sync(wake.armed): whoever takes the bit wakes; what its owner wrote before it armed is visible to the taker
  return (fetch_and(armed_word, ~armed_bit) & armed_bit) != 0;
}

// By a subscription, before it sleeps.
inline void arm(u64& armed_word, u64 armed_bit) {
  // relaxed: its own to set; where it is still set, nobody has fired since the last fence
  if ((load_relaxed(armed_word) & armed_bit) != 0) return;
  fetch_or(armed_word, armed_bit);  // sync(wake.armed): partner of take_armed()
}

// Fires what is armed of one word, of the bits that belong to somebody: taken, woken, then the next (B1). `wake(i)`
// marks and rings whoever has bit i. How many of these made a system call.
template <class Wake>
u64 fire_word(u64& armed_word, u64 bits_in_use, Wake&& wake) {
  u64 calls = 0;
  // relaxed: ordered by the fence before; bits are taken by a read-modify-write
  for (u64 bits = load_relaxed(armed_word) & bits_in_use; bits != 0; bits &= bits - 1) {
    const u64 bit = bits & ~(bits - 1);
    if (QUOIT_RULE_ON(B1_take_before_ring) && !take_armed(armed_word, bit)) continue;
    calls += wake(static_cast<u32>(std::countr_zero(bits))) ? 1 : 0;
    if (!QUOIT_RULE_ON(B1_take_before_ring)) take_armed(armed_word, bit);
  }
  return calls;
}

// As ring().
inline u32 mark_and_ring(u64& ready_word, u64 ready_bit, doorbell& bell) {
  // sync(wake.ready): the commit that we fire for is visible to whoever takes this bit
  fetch_or(ready_word, ready_bit);
  return ring(bell);
}

inline void mark_and_ring_anyway(u64& ready_word, u64 ready_bit, doorbell& bell) {
  // sync(wake.ready): as above
  fetch_or(ready_word, ready_bit);
  ring_anyway(bell);
}

// The sleeping side: set the armed bits, construct this, look at everything that could end the wait, sleep() if
// there is nothing. The one fence in here orders both the bits and `sleeping` before that look.
class nap {
 public:
  // sync(wake.bell): read before `sleeping` is set; a waker that counts up after that ends the wait.
  // relaxed: a stale value only makes the wait return at once
  explicit nap(doorbell& bell, u32 how = sleeps_on_word) : bell_(&bell), seen_(load_relaxed(bell.word)) {
    // sync(wake.sleeping): release, for whoever learns of our wish to be woken from another word
    store_release(bell.sleeping, how);
    // sync(wake.sleeping): as in ring()
    // sync(wake.commit): either the look that follows sees the commit, or the publisher's look sees the armed bit
    QUOIT_RULE(B3_sleep_fence) full_fence();
  }
  ~nap() {
    if (bell_ == nullptr) return;
    // relaxed: a waker that still takes it counts up a doorbell that we will read again
    store_relaxed(bell_->sleeping, 0);
  }
  nap(const nap&) = delete;
  nap& operator=(const nap&) = delete;

  // In a forked child it is the parent that sleeps, and stays so.
  void leave_to_parent() noexcept { bell_ = nullptr; }

  // For who sleeps by other means: until the word is not this any more.
  const u32& word() const noexcept { return bell_->word; }
  u32 seen() const noexcept { return seen_; }
  // Somebody rang since.
  bool rung() const noexcept { return load_relaxed(bell_->word) != seen_; }  // relaxed: for counters

  void sleep(std::chrono::nanoseconds timeout) {
    const u32 awaited = QUOIT_RULE_ON(B2_word_first) ? seen_ : load_relaxed(bell_->word);  // relaxed: as above
    futex_wait(bell_->word, awaited, timeout);
  }

 private:
  doorbell* bell_;
  u32 seen_;
};

}  // namespace quoit::inline v1::detail
