// Waking under a weak memory model: the real steps of src/wake, put together as the bus does it, for one node. There is
// no recheck, but where it is what is shown: a wake that is lost is a run without end.
//
// What stands for a lane is a number, the newest message in it. What belongs to src/bus (the table of publishers, the
// loop of an executor, the cleaner) are steps that are copied here; the words, and who takes, marks, rings, arms, looks
// and sleeps in which order, are the code that runs in the product: anybody_armed(), fire_word(), mark_and_ring(),
// mark_and_ring_anyway(), arm(), nap, doze().
#define QUOIT_MODEL_OWN_WORDS
#include <cstdio>
#include <optional>

#include "cases.hpp"
#include "kernel.hpp"
#include "quoit/detail/armed_words.hpp"
#include "wake/doze.hpp"

namespace model {

namespace {

constexpr unsigned publishers = 2;
constexpr unsigned messages = 2;  // of each publisher
constexpr auto for_ever = std::chrono::nanoseconds(-1);

// A word that processes share, and what relacy knows of it.
struct shared_word {
  u64 word = 0;
  rl::atomic<u64> atomic;
};
rl::atomic<u64>& atomic_of(const u64& word) {
  return const_cast<shared_word*>(reinterpret_cast<const shared_word*>(&word))->atomic;
}

struct wake_world {
  void initialise() {
    node.initialise();
    node_world::ghost = &wake_world::is_ghost;
    dead = false;
    accesses_to_live = 0;
    for (auto* s : {&armed, &ready}) s->atomic.store(0, rl::mo_relaxed, $);
    for (auto* a : {&lane[0], &lane[1], &entry, &roster, &closed}) a->store(0, rl::mo_relaxed, $);
    for (auto& a : of_its_own) a.store(0, rl::mo_relaxed, $);
    here = this;
  }

  // By who has just stored something that can be seen.
  void fire() {
    if (!anybody_armed(&armed.word, 1)) return;
    fire_word(armed.word, 3, [&](u32 bit) { return mark_and_ring(ready.word, u64{1} << bit, node.bell); });
  }
  void publish(unsigned index, u64 number) {
    lane[index].store(number, rl::mo_release, $);
    fire();
  }
  void arm_both() {
    for (const u64 bit : {u64{1}, u64{2}}) arm(armed.word, bit);
  }
  bool any_ready() const { return quoit::detail::load_relaxed(ready.word) != 0; }
  void take_ready() { quoit::detail::exchange(ready.word, 0); }
  // As a thread that waits, for two subscriptions.
  template <class Look>
  bool sleep(Look&& look, std::chrono::nanoseconds timeout = for_ever) {
    return doze(
        node.bell, [&] { arm_both(); }, look, [&] { return any_ready(); }, [&](nap& pause) { pause.sleep(timeout); },
        [&] { take_ready(); });
  }

  // The death of publisher 0, after so many of its accesses.
  void access() {
    if (rl::thread_index() == 0 && accesses_to_live != 0 && --accesses_to_live == 0) dead = true;
  }
  static bool is_ghost() {
    here->access();
    return here->dead && rl::thread_index() == 0;
  }

  node_world node;
  shared_word armed, ready;
  rl::atomic<u64> lane[publishers];
  rl::atomic<u64> entry, roster;  // of the table of publishers
  rl::atomic<u64> closed;
  rl::atomic<u64> of_its_own[publishers + 1];
  bool dead = false;
  unsigned accesses_to_live = 0;  // 0: for ever

  static inline wake_world* here = nullptr;
};

// What was seen of the lanes.
struct place {
  bool behind(wake_world& w) const {
    for (unsigned i = 0; i < publishers; ++i) {
      if (w.lane[i].load(rl::mo_acquire, $) != seen[i]) return true;
    }
    return false;
  }
  bool take(wake_world& w) {
    bool any = false;
    for (unsigned i = 0; i < publishers; ++i) {
      const u64 now = w.lane[i].load(rl::mo_acquire, $);
      RL_ASSERT(now >= seen[i]);
      any = any || now != seen[i];
      seen[i] = now;
    }
    return any;
  }
  bool done() const { return seen[0] == messages && seen[1] == messages; }
  u64 seen[publishers] = {};
};

// ---- a thread that waits --------------------------------------------------------------------------------------------

struct waking : rl::test_suite<waking, publishers + 1> {
  void before() { w.initialise(); }
  void thread(unsigned index) {
    if (index < publishers) {
      w.publish(index, 1);
      // The last message was hid by an older loan, which is abandoned now: as good as a commit (B5).
      w.lane[index].store(messages, rl::mo_release, $);
      if (on("B5_abandon_fires")) w.fire();
      return;
    }
    place at;
    while (!at.done()) {
      if (!at.take(w)) w.sleep([&] { return at.behind(w); });
    }
  }
  void after() { w.node.check_calls(); }
  wake_world w;
};

// ---- a node in the loop of an executor --------------------------------------------------------------------------

// The steps of bus_loop: what is armed is looked at when its bit is ready, and not before.
struct looping : rl::test_suite<looping, publishers + 1> {
  void before() { w.initialise(); }
  void thread(unsigned index) {
    if (index < publishers) {
      for (u64 i = 1; i <= messages; ++i) w.publish(index, i);
      return;
    }
    while (!at[0].done() || !at[1].done()) {
      for (unsigned s = 0; s < 2; ++s) {
        if (!armed[s]) at[s].take(w);
      }
      if (prepare_sleep()) {
        pause->sleep(for_ever);
        pause.reset();
        look_at_ready();
      }
    }
  }
  bool prepare_sleep() {
    bool newly[2] = {};
    for (unsigned s = 0; s < 2; ++s) {
      if (armed[s] || at[s].done()) continue;
      arm(w.armed.word, u64{1} << s);
      armed[s] = newly[s] = true;
    }
    pause.emplace(w.node.bell);
    bool any = at[0].done() && at[1].done();
    for (unsigned s = 0; s < 2; ++s) {
      if (!newly[s] || !at[s].take(w)) continue;
      armed[s] = false;
      any = true;
    }
    if (!any && !(on("B2_ready_before_sleep") && w.any_ready())) return true;
    pause.reset();
    look_at_ready();
    return false;
  }
  void look_at_ready() {
    u64 bits = 0;
    if (on("B2_take_before_look")) {
      bits = quoit::detail::exchange(w.ready.word, 0);
      for (unsigned s = 0; s < 2; ++s) look_at(bits, s);
    } else {
      bits = quoit::detail::load_relaxed(w.ready.word);
      for (unsigned s = 0; s < 2; ++s) {
        if ((bits & (u64{1} << s)) != 0 && !at[s].take(w)) arm(w.armed.word, u64{1} << s);
      }
      quoit::detail::exchange(w.ready.word, 0);
    }
  }
  void look_at(u64 bits, unsigned s) {
    if ((bits & (u64{1} << s)) == 0) return;
    armed[s] = false;
    at[s].take(w);
  }
  void after() { w.node.check_calls(); }
  wake_world w;
  place at[2];
  bool armed[2] = {};
  std::optional<nap> pause;
};

// ---- a publisher that comes -----------------------------------------------------------------------------------------

// Its first message is all that tells of it: the table changed, and nobody was told (B4).
struct coming : rl::test_suite<coming, 2> {
  void before() { w.initialise(); }
  void enter() {
    if (on("B4_entry_before_roster")) w.entry.store(1, rl::mo_release, $);
    w.roster.store(1, on("B4_roster_release") ? rl::mo_release : rl::mo_relaxed, $);
    if (!on("B4_entry_before_roster")) w.entry.store(1, rl::mo_release, $);
  }
  void thread(unsigned index) {
    if (index == 0) {
      if (on("B4_entered_before_commit")) enter();
      w.publish(0, 1);
      if (!on("B4_entered_before_commit")) enter();
      return;
    }
    while (!look()) w.sleep([&] { return look(); });
  }
  void look_at_table() {
    const u64 now = w.roster.load(on("B4_roster_acquire") ? rl::mo_acquire : rl::mo_relaxed, $);
    if (now == roster_seen) return;
    roster_seen = now;
    attached = w.entry.load(rl::mo_acquire, $) != 0;
  }
  bool look() {
    if (on("B4_table_before_lanes")) look_at_table();
    const bool any = attached && w.lane[0].load(rl::mo_acquire, $) != 0;
    if (!on("B4_table_before_lanes")) look_at_table();
    return any;
  }
  wake_world w;
  u64 roster_seen = 0;
  bool attached = false;
};

// ---- a publisher that dies
// --------------------------------------------------------------------------------------------

// Publisher 0 dies at any access of its firing. Who cleans up after it closes its lane and wakes everybody (B6).
struct dying : rl::test_suite<dying, 2> {
  void before() { w.initialise(); }
  void thread(unsigned index) {
    if (index == 0) {
      w.accesses_to_live = 1 + rl::rand(12);
      w.publish(0, 1);
      // Its cleaner took its byte: what it did is before what we do.
      w.dead = false;
      w.accesses_to_live = 0;
      w.closed.store(1, rl::mo_release, $);
      for (const u64 bit : {u64{1}, u64{2}}) {
        if (!on("B6_cleaner_wakes")) continue;
        // The dead one may have taken `sleeping` and not rung.
        if (on("B6_cleaner_rings_anyway")) {
          mark_and_ring_anyway(w.ready.word, bit, w.node.bell);
        } else {
          mark_and_ring(w.ready.word, bit, w.node.bell);
        }
      }
      return;
    }
    const auto over = [&] { return w.closed.load(rl::mo_acquire, $) != 0; };
    while (!over()) w.sleep(over);
    RL_ASSERT(w.lane[0].load(rl::mo_relaxed, $) == 1);
  }
  wake_world w;
};

// The same, and nobody cleans up. The recheck looks at the lanes; looking at what is ready is none (B6).
struct rechecking : rl::test_suite<rechecking, 2> {
  void before() { w.initialise(); }
  void thread(unsigned index) {
    if (index == 0) {
      w.accesses_to_live = 1 + rl::rand(12);
      w.publish(0, 1);
      return;
    }
    const auto look = [&] { return w.lane[0].load(rl::mo_acquire, $) != 0; };
    if (look()) return;
    w.arm_both();
    bool found = false;
    for (unsigned turns = 0; !found; ++turns) {
      // A loop: it is armed already, and looks at what it was told of; and when the time has come, at everything.
      nap pause(w.node.bell);
      if (turns == 0 && look()) return;
      if (!w.any_ready()) pause.sleep(std::chrono::nanoseconds(1));
      const bool told = quoit::detail::exchange(w.ready.word, 0) != 0;
      found = (told || on("B6_recheck_looks")) && look();
      RL_ASSERT(turns < 60);
    }
  }
  wake_world w;
};

}  // namespace

}  // namespace model

namespace quoit::inline v1::detail {

using model::node_world;
using model::wake_world;

u64 load_relaxed(const u64& word) { return model::atomic_of(word).load(rl::mo_relaxed, $); }
u64 exchange(u64& word, u64 value) {
  if (node_world::ghost()) return model::atomic_of(word).load(rl::mo_relaxed, $);
  return model::atomic_of(word).exchange(value, rl::mo_acq_rel, $);
}
u64 fetch_or(u64& word, u64 bits) {
  u64 seen = model::atomic_of(word).load(rl::mo_relaxed, $);
  if (node_world::ghost()) return seen;
  while (!model::atomic_of(word).compare_exchange_strong(seen, seen | bits, rl::mo_acq_rel, $)) {
  }
  return seen;
}
u64 fetch_and(u64& word, u64 bits) {
  u64 seen = model::atomic_of(word).load(rl::mo_relaxed, $);
  if (node_world::ghost()) return seen;
  while (!model::atomic_of(word).compare_exchange_strong(seen, seen & bits, rl::mo_acq_rel, $)) {
  }
  return seen;
}
void full_fence() {
  // A read-modify-write of a word that nobody else uses orders nothing for anybody else (B7).
  if (model::on("B7_fence_and_no_private_word")) {
    rl::atomic_thread_fence(rl::mo_seq_cst, $);
  } else {
    wake_world::here->of_its_own[rl::thread_index()].fetch_add(1, rl::mo_acq_rel, $);
  }
}

}  // namespace quoit::inline v1::detail

int main() {
  using namespace model;
  suite s;
  s.passes<waking>("a thread that waits", 200);
  s.passes<looping>("a loop that waits", 100);
  s.passes<coming>("a publisher that comes", 100);
  s.passes<dying>("a publisher that dies, and its cleaner", 100);
  s.passes<rechecking>("a publisher that dies, and a recheck", 50);
  s.fails_without<waking>("B1_take_before_ring", "a thread that waits", 1000);
  s.fails_without<waking>("B2_exchange", "a thread that waits", 1000);
  s.fails_without<waking>("B2_word_first", "a thread that waits", 1000);
  s.fails_without<waking>("B2_arm_before_sleeping", "a thread that waits", 1000);
  s.fails_without<waking>("B2_look_again", "a thread that waits", 1000);
  s.fails_without<waking>("B2_ready_before_sleep", "a thread that waits", 1000);
  s.fails_without<looping>("B2_ready_before_sleep", "a loop that waits", 1000);
  s.fails_without<looping>("B2_take_before_look", "a loop that waits", 1000);
  s.fails_without<waking>("B3_commit_fence", "a thread that waits", 1000);
  s.fails_without<waking>("B3_ring_fence", "a thread that waits", 1000);
  s.fails_without<waking>("B3_sleep_fence", "a thread that waits", 1000);
  s.fails_without<coming>("B4_table_before_lanes", "a publisher that comes", 1000);
  s.fails_without<coming>("B4_entry_before_roster", "a publisher that comes", 1000);
  s.fails_without<coming>("B4_entered_before_commit", "a publisher that comes", 1000);
  s.fails_without<coming>("B4_roster_release", "a publisher that comes", 1000);
  s.fails_without<coming>("B4_roster_acquire", "a publisher that comes", 1000);
  s.fails_without<waking>("B5_abandon_fires", "a thread that waits", 1000);
  s.fails_without<dying>("B6_cleaner_wakes", "a publisher that dies, and its cleaner", 1000);
  s.fails_without<dying>("B6_cleaner_rings_anyway", "a publisher that dies, and its cleaner", 1000);
  s.fails_without<rechecking>("B6_recheck_looks", "a publisher that dies, and a recheck", 1000);
  s.fails_without<waking>("B7_fence_and_no_private_word", "a thread that waits", 1000);
  return s.end();
}
