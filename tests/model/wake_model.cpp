// Waking under a weak memory model: the real take_armed(), mark_and_ring() and nap of src/wake, two publishers, one
// node with two subscriptions, and no recheck: a wake that is lost is a run without end.
#define QUOIT_MODEL_OWN_WORDS
#include <chrono>
#include <cstdio>
#include <memory>

#include "cases.hpp"
#include "wake/doorbell.hpp"

namespace model {

namespace {

constexpr unsigned publishers = 2;
constexpr unsigned messages = 2;  // of each publisher

struct shared_words {
  doorbell bell{};
  u64 armed = 0;
  u64 ready = 0;
};

struct wake_world {
  shared_words words;
  rl::atomic<u32> bell, sleeping;
  rl::atomic<u64> armed, ready;
  rl::atomic<u64> committed[publishers];  // stands for a lane: what is visible of it
  rl::atomic<u32> wakes;                  // of the kernel: counts calls
};
wake_world* wakes_here = nullptr;

rl::atomic<u32>& atomic_of(const u32& word) {
  return &word == &wakes_here->words.bell.word ? wakes_here->bell : wakes_here->sleeping;
}
rl::atomic<u64>& atomic_of(const u64& word) {
  return &word == &wakes_here->words.armed ? wakes_here->armed : wakes_here->ready;
}

struct waking : rl::test_suite<waking, publishers + 1> {
  void before() {
    wakes_here = &w;
    for (auto* a : {&w.bell, &w.sleeping, &w.wakes}) a->store(0, rl::mo_relaxed, $);
    for (auto* a : {&w.armed, &w.ready, &w.committed[0], &w.committed[1]}) a->store(0, rl::mo_relaxed, $);
  }

  void thread(unsigned index) {
    if (index < publishers) {
      for (u64 i = 1; i <= messages; ++i) publish(index, i);
      return;
    }
    u64 seen[publishers] = {};
    while (seen[0] < messages || seen[1] < messages) {
      if (!look(seen)) wait(seen);
    }
  }

  // As publisher_core: commit, fence, look at the mask, fire bit by bit.
  void publish(unsigned index, u64 number) {
    w.committed[index].store(number, rl::mo_release, $);
    if (on("B3_commit_fence")) quoit::detail::full_fence();
    const u64 armed = quoit::detail::load_relaxed(w.words.armed);
    for (u64 bits = armed; bits != 0; bits &= bits - 1) {
      const u64 bit = bits & ~(bits - 1);
      if (on("B1_clear_before_ring")) {
        if (take_armed(w.words.armed, bit)) mark_and_ring(w.words.ready, bit, w.words.bell);
      } else {
        quoit::detail::fetch_or(w.words.ready, bit);
        ring(w.words.bell);
        quoit::detail::fetch_and(w.words.armed, ~bit);
      }
    }
  }

  bool look(u64* seen) {
    bool any = false;
    for (unsigned i = 0; i < publishers; ++i) {
      const u64 now = w.committed[i].load(rl::mo_acquire, $);
      RL_ASSERT(now >= seen[i]);
      any = any || now != seen[i];
      seen[i] = now;
    }
    return any;
  }

  // As subscriber_core::wait_any(), for two subscriptions, without its recheck.
  void wait(u64* seen) {
    for (u64 bit : {u64{1}, u64{2}}) {
      if ((quoit::detail::load_relaxed(w.words.armed) & bit) == 0) quoit::detail::fetch_or(w.words.armed, bit);
    }
    {
      nap pause(w.words.bell);
      u64 again[publishers] = {seen[0], seen[1]};
      const bool any = on("B2_look_again") ? look(again) : false;
      const bool ready = on("B2_ready_before_sleep") ? quoit::detail::load_relaxed(w.words.ready) != 0 : false;
      if (!any && !ready) pause.sleep(std::chrono::nanoseconds(-1));
    }
    quoit::detail::exchange(w.words.ready, 0);
  }

  wake_world w;
};

}  // namespace

}  // namespace model

namespace quoit::inline v1::detail {

u64 load_relaxed(const u64& word) { return model::atomic_of(word).load(rl::mo_relaxed, $); }
u64 exchange(u64& word, u64 value) { return model::atomic_of(word).exchange(value, rl::mo_acq_rel, $); }
u64 fetch_or(u64& word, u64 bits) {
  u64 seen = model::atomic_of(word).load(rl::mo_relaxed, $);
  while (!model::atomic_of(word).compare_exchange_strong(seen, seen | bits, rl::mo_acq_rel, $)) {
  }
  return seen;
}
u64 fetch_and(u64& word, u64 bits) {
  u64 seen = model::atomic_of(word).load(rl::mo_relaxed, $);
  while (!model::atomic_of(word).compare_exchange_strong(seen, seen & bits, rl::mo_acq_rel, $)) {
  }
  return seen;
}
void full_fence() { rl::atomic_thread_fence(rl::mo_seq_cst, $); }

u32 load_relaxed(const u32& word) { return model::atomic_of(word).load(rl::mo_relaxed, $); }
u32 load_acquire(const u32& word) { return model::atomic_of(word).load(rl::mo_acquire, $); }
void store_relaxed(u32& word, u32 value) { model::atomic_of(word).store(value, rl::mo_relaxed, $); }
void store_release(u32& word, u32 value) { model::atomic_of(word).store(value, rl::mo_release, $); }
u32 exchange(u32& word, u32 value) { return model::atomic_of(word).exchange(value, rl::mo_acq_rel, $); }
u32 fetch_add(u32& word, u32 value) { return model::atomic_of(word).fetch_add(value, rl::mo_acq_rel, $); }

// The kernel: it compares under a lock of its own, and whoever sleeps is woken by whoever calls after that.
void futex_wait(const u32& word, u32 expected, std::chrono::nanoseconds) noexcept {
  rl::atomic_thread_fence(rl::mo_seq_cst, $);
  const u32 calls = model::wakes_here->wakes.load(rl::mo_seq_cst, $);
  rl::linear_backoff pause;
  while (model::atomic_of(word).load(rl::mo_seq_cst, $) == expected &&
         model::wakes_here->wakes.load(rl::mo_seq_cst, $) == calls) {
    pause.yield($);
  }
}
void futex_wake(const u32&) noexcept { model::wakes_here->wakes.fetch_add(1, rl::mo_seq_cst, $); }

}  // namespace quoit::inline v1::detail

int main() {
  using namespace model;
  suite s;
  s.passes<waking>("two publishers, two subscriptions", 200);
  s.fails_without<waking>("B1_clear_before_ring", "waking", 1000);
  s.fails_without<waking>("B2_look_again", "waking", 1000);
  s.fails_without<waking>("B2_ready_before_sleep", "waking", 1000);
  s.fails_without<waking>("B3_commit_fence", "waking", 1000);
  s.fails_without<waking>("B3_ring_fence", "waking", 1000);
  s.fails_without<waking>("B3_sleep_fence", "waking", 1000);
  return s.end();
}
