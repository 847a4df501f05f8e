// A node's doorbell and the kernel's half of it, as relacy sees them: behind the functions for words of 32 bits, which
// nothing else uses.
#pragma once

#include <chrono>

#include "quoit/detail/bus_layout.hpp"
#include "world.hpp"

namespace model {

struct node_world {
  void initialise() {
    node_here = this;
    for (auto* a : {&word, &sleeping, &calls}) a->store(0, rl::mo_relaxed, $);
    naps = 0;
  }
  rl::atomic<u32>& atomic_of(const u32& w) { return &w == &bell.word ? word : sleeping; }
  // Each sleep is ended by one call at most: nobody is woken who is awake, and nobody twice.
  void check_calls() { RL_ASSERT(calls.load(rl::mo_relaxed, $) <= naps); }

  doorbell bell{};
  rl::atomic<u32> word, sleeping;
  rl::atomic<u32> calls;  // to wake
  u32 naps = 0;           // begun

  static inline node_world* node_here = nullptr;
  // Of the thread that plays somebody who died: nothing that it does has an effect.
  static inline bool (*ghost)() = [] { return false; };
  // After so many looks at the word a sleep with a timeout is over.
  static inline unsigned patience = 3;
};

}  // namespace model

namespace quoit::inline v1::detail {

using model::node_world;

u32 load_relaxed(const u32& word) { return node_world::node_here->atomic_of(word).load(rl::mo_relaxed, $); }
u32 load_acquire(const u32& word) { return node_world::node_here->atomic_of(word).load(rl::mo_acquire, $); }
void store_relaxed(u32& word, u32 value) { node_world::node_here->atomic_of(word).store(value, rl::mo_relaxed, $); }
void store_release(u32& word, u32 value) {
  if (&word == &node_world::node_here->bell.sleeping && value == 1) ++node_world::node_here->naps;
  node_world::node_here->atomic_of(word).store(value, rl::mo_release, $);
}
u32 exchange(u32& word, u32 value) {
  auto& atomic = node_world::node_here->atomic_of(word);
  if (node_world::ghost()) return atomic.load(rl::mo_relaxed, $);
  return atomic.exchange(value, rl::mo_acq_rel, $);
}
u32 fetch_add(u32& word, u32 value) {
  auto& atomic = node_world::node_here->atomic_of(word);
  if (node_world::ghost()) return atomic.load(rl::mo_relaxed, $);
  return atomic.fetch_add(value, rl::mo_acq_rel, $);
}

// The kernel compares under a lock of its own, and whoever sleeps is woken by whoever calls after that.
void futex_wait(const u32& word, u32 expected, std::chrono::nanoseconds timeout) noexcept {
  node_world& node = *node_world::node_here;
  rl::atomic_thread_fence(rl::mo_seq_cst, $);
  const u32 calls = node.calls.load(rl::mo_seq_cst, $);
  rl::linear_backoff pause;
  for (unsigned looks = 0; timeout.count() < 0 || looks < node_world::patience; ++looks) {
    if (node.atomic_of(word).load(rl::mo_seq_cst, $) != expected) return;
    if (node.calls.load(rl::mo_seq_cst, $) != calls) return;
    pause.yield($);
  }
}
void futex_wake(const u32&) noexcept {
  if (!node_world::ghost()) node_world::node_here->calls.fetch_add(1, rl::mo_seq_cst, $);
}

}  // namespace quoit::inline v1::detail
