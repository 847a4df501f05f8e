#include "bus/bus_loop.hpp"

#include <poll.h>

#include <algorithm>
#include <bit>
#include <new>

#include "bus/publisher_parts.hpp"
#include "bus/subscriber_parts.hpp"

namespace quoit::inline v1::detail {

namespace {

// Looks between two looks at the clock.
constexpr unsigned looks_a_settling = 64;
// Looks between two looks at the ready bits, while something is hot.
constexpr unsigned looks_an_asking = 8;
// A loop that spins for ever arms nobody, unless there are so many that looking at each would be slow.
constexpr std::size_t hot_for_ever_max = 64;

}  // namespace

// ---- waits ---------------------------------------------------------------------------------------------

template <class Wait>
bool bus_wait::sleep_in(bus_loop& where, Wait& self, const promise_base& awaiting,
                        std::coroutine_handle<> who) noexcept {
  loop_ = awaiting.loop();
  handle = who;
  where.wait(self);
  attach(awaiting.stop());
  return true;
}

template <class Wait>
void bus_wait::answer_as(Wait& self, errc why) noexcept {
  if (where_ == nullptr && !loop_->was_dropped(*this)) return;
  if (where_ != nullptr) where_->leave(self);
  why_ = why;
  loop_->make_ready(*this);
}

receive_wait::~receive_wait() {
  if (where_ != nullptr) where_->leave(*this);
  // Received, and its task was destroyed before it went on.
  if (status_ == subscriber_core::polled::message) core_.release(out_);
}

bool receive_wait::begin(const promise_base& awaiting, std::coroutine_handle<> who) noexcept {
  if (is_stopped(awaiting)) return false;
  if (look()) return !at_once(awaiting, who);
  if (core_.waiting_ != nullptr) {
    why_ = errc::busy;
    return false;
  }
  bus_loop* const where = bus_loop::of(*core_.parts_->owner, *awaiting.loop(), why_);
  return where != nullptr && sleep_in(*where, *this, awaiting, who);
}

void receive_wait::stopped(stop_hook& hook) noexcept { static_cast<receive_wait&>(hook).answer(errc::cancelled); }

void receive_wait::answer(errc why) noexcept { answer_as(*this, why); }

void receive_wait::core_goes_in_child() noexcept {
  if (where_ != nullptr && !where_->left_behind()) where_->leave(*this);
}

space_wait::~space_wait() {
  if (where_ != nullptr) where_->leave(*this);
  // Taken, and its task was destroyed before it went on: left open, it would hide all that is published after it.
  if (claimed_) core_.abandon(out_);
}

bool space_wait::begin(const promise_base& awaiting, std::coroutine_handle<> who) noexcept {
  if (is_stopped(awaiting)) return false;
  if (look()) return !at_once(awaiting, who);
  bus_loop* const where = bus_loop::of(core_.owner(), *awaiting.loop(), why_);
  return where != nullptr && sleep_in(*where, *this, awaiting, who);
}

void space_wait::stopped(stop_hook& hook) noexcept { static_cast<space_wait&>(hook).answer(errc::cancelled); }

void space_wait::answer(errc why) noexcept { answer_as(*this, why); }

flush_wait::~flush_wait() {
  if (where_ != nullptr) where_->leave(*this);
}

bool flush_wait::begin(const promise_base& awaiting, std::coroutine_handle<> who) noexcept {
  if (is_stopped(awaiting)) return false;
  bus_loop* const where = bus_loop::of(core_.owner(), *awaiting.loop(), why_);
  if (where == nullptr) return false;
  asked_ = core_.request_flush();
  if (look()) return !at_once(awaiting, who);
  return sleep_in(*where, *this, awaiting, who);
}

void flush_wait::stopped(stop_hook& hook) noexcept { static_cast<flush_wait&>(hook).answer(errc::cancelled); }

void flush_wait::answer(errc why) noexcept { answer_as(*this, why); }

// ---- the node in the loop ------------------------------------------------------------------------------

bus_loop* bus_loop::of(node& owner, loop& where, errc& why) noexcept {
  if (where.forked()) {
    why = errc::forked;
    return nullptr;
  }
  auto* at = static_cast<bus_loop*>(owner.attachment.get());
  if (at == nullptr || at->loop_ == nullptr) {
    try {
      auto made = std::make_unique<bus_loop>(owner, where);
      at = made.get();
      owner.attachment = std::move(made);
    } catch (const std::bad_alloc&) {
      why = errc::no_space;
      return nullptr;
    }
  }
  if (at->loop_ == &where) return at;
  why = errc::wrong_thread;
  return nullptr;
}

bus_loop::bus_loop(node& owner, loop& where)
    : node_(owner), loop_(&where), recheck_ns_(loop::now_ns() + owner.settings().recheck.count()) {
  where.add(*this);
}

bus_loop::~bus_loop() {
  if (loop_ != nullptr && !(node_.forked() && left_behind())) loop_->remove(*this);
  if (nap_ && node_.forked()) nap_->leave_to_parent();
}

void bus_loop::loop_gone() noexcept {
  // The loop destroys the coroutines; none of them is to look for us then.
  while (!hot_.alone()) leave(receive_wait::of(*hot_.after));
  while (!armed_.alone()) leave(receive_wait::of(*armed_.after));
  while (!space_.alone()) leave(space_wait::of(*space_.after));
  while (!flushing_.alone()) leave(flush_wait::of(*flushing_.after));
  if (nap_ && node_.forked()) nap_->leave_to_parent();
  nap_.reset();
  loop_ = nullptr;
}

void bus_loop::wait(receive_wait& w) noexcept {
  w.where_ = this;
  w.core_.waiting_ = &w;
  w.settled_ = 0;
  w.in_turn_.enter(hot_);
}

void bus_loop::leave(receive_wait& w) noexcept {
  w.where_ = nullptr;
  w.core_.waiting_ = nullptr;
  w.in_turn_.leave();
  if (w.in_armed_.alone()) return;
  // Its bit stays set until somebody fires it, which then means nothing.
  w.in_armed_.leave();
  --armed_count_;
}

void bus_loop::wait(space_wait& w) noexcept {
  w.where_ = this;
  w.in_space_.enter(space_);
}

void bus_loop::leave(space_wait& w) noexcept {
  w.where_ = nullptr;
  w.in_space_.leave();
  // It is the parent that waits, if this is a forked child.
  if (!node_.forked()) w.core_.announce_waiting(false);
}

void bus_loop::wait(flush_wait& w) noexcept {
  w.where_ = this;
  w.in_flushing_.enter(flushing_);
}

void bus_loop::leave(flush_wait& w) noexcept {
  w.where_ = nullptr;
  w.in_flushing_.leave();
  if (!node_.forked()) w.core_.announce_waiting(false);
}

void bus_loop::publisher_goes(const publisher_core& core) noexcept {
  for (wait_link* at = flushing_.after; at != &flushing_;) {
    flush_wait& w = flush_wait::of(*at);
    at = at->after;
    if (&w.core_ == &core) w.answer(errc::closed);
  }
  for (wait_link* at = space_.after; at != &space_;) {
    space_wait& w = space_wait::of(*at);
    at = at->after;
    if (&w.core_ == &core) w.answer(errc::closed);
  }
}

void bus_loop::done(receive_wait& w) noexcept {
  leave(w);
  loop_->make_ready(w);
}

// ---- looking -------------------------------------------------------------------------------------------

bool bus_loop::look() noexcept {
  ++looks_;
  // Sixteen words are many beside one subscription that is hot: it shall not wait for them each time. Asked before it
  // is looked at, as one that has its message is hot no more.
  const bool due = hot_.alone() || looks_ % looks_an_asking == 0;
  bool any = look_at_hot();
  if (due && armed_count_ != 0 && node_.any_ready()) any = look_at_ready() || any;
  if (!space_.alone()) any = look_at_space() || any;
  if (!flushing_.alone()) any = look_at_flushing() || any;
  if (looks_ % looks_a_settling == 0) any = settle() || any;
  return any;
}

bool bus_loop::look_at_hot() noexcept {
  bool any = false;
  for (wait_link* at = hot_.after; at != &hot_;) {
    receive_wait& w = receive_wait::of(*at);
    at = at->after;
    if (!w.look()) continue;
    done(w);
    any = true;
  }
  return any;
}

bool bus_loop::look_at_space() noexcept {
  bool any = false;
  for (wait_link* at = space_.after; at != &space_;) {
    space_wait& w = space_wait::of(*at);
    at = at->after;
    if (!w.look()) continue;
    leave(w);
    loop_->make_ready(w);
    any = true;
  }
  return any;
}

bool bus_loop::look_at_flushing() noexcept {
  bool any = false;
  for (wait_link* at = flushing_.after; at != &flushing_;) {
    flush_wait& w = flush_wait::of(*at);
    at = at->after;
    if (!w.look()) continue;
    leave(w);
    loop_->make_ready(w);
    any = true;
  }
  return any;
}

// Who was fired is looked at; one that has nothing after all is hot again, as its bit was taken.
bool bus_loop::look_at_ready() noexcept {
  bool any = false;
  for (u32 word = 0; word < ready_words; ++word) {
    for (u64 bits = node_.take_ready_word(word); bits != 0; bits &= bits - 1) {
      wait_link& ring = by_bit_[word * 64 + static_cast<u32>(std::countr_zero(bits))];
      // Several subscriptions may share a bit.
      wait_link fired;
      while (!ring.alone()) {
        wait_link& first = *ring.after;
        first.leave();
        first.enter(fired);
      }
      while (!fired.alone()) {
        receive_wait& w = receive_wait::of(*fired.after);
        disarm(w);
        if (!w.look()) continue;
        done(w);
        any = true;
      }
    }
  }
  return any;
}

// Sees to it that whatever comes for this subscription marks its ready bit.
void bus_loop::want(subscriber_core& core) noexcept {
  if (!core.parts_->sockets) return core.set_armed_bit();
  socket_watch* const watch = core.parts_->watch.get();
  if (watch == nullptr || watch->now == operation::state::in_flight) return;
  watch->where = loop_;
  io_request request{.code = io_code::poll};
  request.fd = core.parts_->sockets->descriptor();
  request.flags = POLLIN;
  loop_->start(*watch, request);
}

void bus_loop::arm(receive_wait& w) noexcept {
  want(w.core_);
  w.in_turn_.leave();
  w.in_turn_.enter(by_bit_[w.core_.parts_->ready_bit % ready_bits]);
  w.in_armed_.enter(armed_);
  ++armed_count_;
}

// Hot again; a bit that is still set is fired once for nothing.
void bus_loop::disarm(receive_wait& w) noexcept {
  w.in_turn_.leave();
  w.in_armed_.leave();
  --armed_count_;
  w.settled_ = 0;
  w.in_turn_.enter(hot_);
}

// A thread that waits by itself, in a task of ours or between two runs: any of those that are armed may have been
// fired.
void bus_loop::ready_was_taken() noexcept {
  while (!armed_.alone()) disarm(receive_wait::of(*armed_.after));
}

// The last `count` of those that are armed: after the fence that followed their arming.
bool bus_loop::look_at_newly_armed(std::size_t count) noexcept {
  bool any = false;
  wait_link* at = armed_.before;
  for (; count != 0; --count) {
    receive_wait& w = receive_wait::of(*at);
    at = at->before;
    if (!w.look()) continue;
    done(w);
    any = true;
  }
  return any;
}

// Now and then: arms what has been hot for about the spin budget, and does the recheck of a loop that never sleeps.
bool bus_loop::settle() noexcept {
  const std::int64_t now = loop::now_ns();
  bool any = now >= recheck_ns_ && recheck(now);
  if (now - settled_ns_ < loop_->options().spin_max.count() / 2) return any;
  settled_ns_ = now;
  std::size_t hot = 0;
  for (wait_link* at = hot_.after; at != &hot_; at = at->after) ++hot;
  if (loop_->options().wait == wait::spin && hot <= hot_for_ever_max) return any;
  std::size_t newly = 0;
  for (wait_link* at = hot_.after; at != &hot_;) {
    receive_wait& w = receive_wait::of(*at);
    at = at->after;
    if (++w.settled_ < 3 || w.core_.parts_->observes()) continue;
    arm(w);
    ++newly;
  }
  if (newly == 0) return any;
  // sync(wake.commit): either the look that follows sees the commit, or the publisher's look sees the armed bit
  full_fence();
  return look_at_newly_armed(newly) || any;
}

bool bus_loop::prepare_sleep(loop_bed& bed) noexcept {
  if (!bed.on_word) bed.descriptor = node_.bell_descriptor();
  std::size_t newly = 0;
  observes_ = false;
  for (wait_link* at = hot_.after; at != &hot_;) {
    receive_wait& w = receive_wait::of(*at);
    at = at->after;
    if (w.core_.parts_->observes()) {
      observes_ = true;  // nobody would wake it
      continue;
    }
    arm(w);
    ++newly;
  }
  for (wait_link* at = space_.after; at != &space_; at = at->after) space_wait::of(*at).core_.announce_waiting(true);
  for (wait_link* at = flushing_.after; at != &flushing_; at = at->after) {
    flush_wait::of(*at).core_.announce_waiting(true);
  }
  // Everything is armed before `sleeping` is set; the fence in here orders both before the looks that follow.
  nap_.emplace(node_.bell(), bed.descriptor >= 0 ? sleeps_on_pipe : sleeps_on_word);
  bool any = look_at_newly_armed(newly);
  any = look_at_hot() || any;  // observers
  if (!space_.alone()) any = look_at_space() || any;
  if (!flushing_.alone()) any = look_at_flushing() || any;
  if (any || node_.any_ready()) {
    nap_.reset();
    look_at_ready();
    return false;
  }
  bed.word = &nap_->word();
  bed.seen = nap_->seen();
  return true;
}

void bus_loop::woken() noexcept {
  const bool rung = nap_->rung();
  nap_.reset();
  const std::int64_t now = loop::now_ns();
  const bool fired = armed_count_ != 0 && look_at_ready();
  const bool found = now >= recheck_ns_ && recheck(now);
  // Who waits for space is looked at in the next turn: whether that ring was in vain is not known here.
  const bool vain = rung && !fired && !found && space_.alone() && flushing_.alone();
  node_.count_sleep(found ? node::wake::late : vain ? node::wake::vain : node::wake::in_time);
}

std::chrono::nanoseconds bus_loop::sleep_max() const noexcept {
  const std::chrono::nanoseconds recheck = node_.settings().recheck;
  return observes_ ? std::min<std::chrono::nanoseconds>(recheck, std::chrono::milliseconds(1)) : recheck;
}

// Thousands of them are in no cache: what comes after `at` in the ring is fetched one step of the chain at a time.
void bus_loop::prefetch_behind(const wait_link& at) const noexcept {
  const wait_link* const next = at.after;
  const wait_link* const second = next->after;
  const wait_link* const third = second->after;
  if (next != &armed_) receive_wait::of(*next).core_.prefetch_look();
  if (second != &armed_) __builtin_prefetch(&receive_wait::of(*second).core_);
  __builtin_prefetch(third);
}

// A quarter of what is armed, so that each has its turn in four rechecks: publishers that died are cleaned up after,
// bits that a dead waker took are set again, and lanes are looked at. True: somebody had something that nobody told us.
bool bus_loop::recheck(std::int64_t now) noexcept {
  recheck_ns_ = now + node_.settings().recheck.count();
  node_.forget_probes();
  bool any = false;
  for (std::size_t n = (armed_count_ + 3) / 4; n != 0 && !armed_.alone(); --n) {
    receive_wait& w = receive_wait::of(*armed_.after);
    prefetch_behind(w.in_armed_);
    w.in_armed_.leave();
    w.in_armed_.enter(armed_);
    w.core_.recheck_publishers();
    want(w.core_);
    // sync(wake.commit): as in settle()
    full_fence();
    if (!w.look()) continue;
    done(w);
    any = true;
  }
  // What is hot is looked at anyway, but a message may be hidden by a loan of somebody dead.
  for (wait_link* at = hot_.after; at != &hot_; at = at->after) receive_wait::of(*at).core_.recheck_publishers();
  for (wait_link* at = space_.after; at != &space_; at = at->after) space_wait::of(*at).core_.probe_blocker();
  return any;
}

}  // namespace quoit::inline v1::detail
