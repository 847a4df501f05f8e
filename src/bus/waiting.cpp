// How a plain thread waits for messages: spin, arm, look once more, sleep on the node's doorbell.
//
// Looks and wakes are ordered by rules B1 to B6 of docs/design/wake.md. A wake can only be lost with a waker
// that died between taking a bit and ringing: the recheck looks at everything again, and sets the bits again.
#include "base/deadline.hpp"
#include "bus/subscriber_parts.hpp"
#include "wake/doze.hpp"

namespace quoit::inline v1::detail {

namespace {
constexpr std::chrono::nanoseconds observer_period = std::chrono::milliseconds(1);
}

bool subscriber_core::ready() noexcept {
  if (parts_->sockets) {
    if (!anything_received()) look_at_sockets();
    return anything_received();
  }
  look_at_roster();
  if (!parts_->unsaid.empty()) return true;
  if (parts_->kept && ready_kept(*parts_->kept)) return true;
  for (const auto& kept : parts_->left) {
    if (ready_kept(*kept)) return true;
  }
  for (auto& link : parts_->links) {
    if (!link->drained && !link->broken && link->reader.ready()) return true;
  }
  return false;
}

void subscriber_core::set_armed_bit() noexcept {
  if (parts_->observes() || parts_->sockets) return;
  u64& word = parts_->control.header().armed[parts_->index / 64];
  arm(word, u64{1} << (parts_->index % 64));
}

void subscriber_core::prefetch_look() const noexcept {
  __builtin_prefetch(roster_);
  __builtin_prefetch(parts_.get());
}

void subscriber_core::show_counters() noexcept {
  u64 received = parts_->received_before;
  for (const auto& link : parts_->links) {
    link->reader.count();
    if (link->connection) received += received_on(*link);
  }
  if (parts_->sockets) parts_->sockets->show(received, lost());
}

void subscriber_core::recheck_publishers() noexcept {
  if (parts_->observes() || parts_->sockets || !parts_->control) return;
  if (parts_->kept) recheck_kept();
  node& self = *parts_->owner;
  const topic& control = parts_->control;
  bool drained = false;
  for (const auto& link : parts_->links) {
    drained = drained || (link->drained && link->reader.held() == 0);
    const publisher_entry& entry = control.publisher(link->index);
    // What was closed was cleaned up after.
    if (control.state(entry) != participant_state::active) continue;
    const node_id whom = topic::owner_of(entry);
    // A lock that somebody holds is not waited for: he who waits here waits for a message.
    if (!self.alive_lately(whom)) self.clean_if_dead(whom, std::chrono::nanoseconds(0));
  }
  if (drained) drop_drained();
}

subscriber_core::polled subscriber_core::wait_for(held_message& out, std::chrono::nanoseconds timeout) noexcept {
  const deadline end(timeout);
  subscriber_core* const self = this;
  // What is there is taken, whatever the time.
  polled status = poll(out);
  while (status == polled::nothing) {
    auto which = wait_any({&self, 1}, end.left());
    if (!which) {
      parts_->failure = std::move(which.error());
      return polled::failed;
    }
    // There may be nothing after all: what woke us was a publisher that came or went, or one that writes nonsense. So
    // it is here that every round looks at the time.
    status = poll(out);
    if (status != polled::nothing) break;
    const bool interrupted = parts_->owner->take_interrupt();
    if (!interrupted && !end.over()) continue;
    parts_->failure = error(interrupted ? errc::interrupted : errc::timed_out);
    return polled::failed;
  }
  return status;
}

result<std::size_t> subscriber_core::wait_any(std::span<subscriber_core* const> cores,
                                              std::chrono::nanoseconds timeout) noexcept {
  if (cores.empty()) return tl::unexpected(error(errc::invalid_argument));
  for (subscriber_core* const core : cores) {
    if (core->epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
    if (!core->open_) return tl::unexpected(error(errc::closed));
    // One word wakes one node.
    if (core->parts_->owner != cores[0]->parts_->owner) return tl::unexpected(error(errc::invalid_argument));
  }
  const auto look = [&]() -> std::size_t {
    std::size_t i = 0;
    while (i < cores.size() && !cores[i]->ready()) ++i;
    return i;
  };
  if (const std::size_t i = look(); i < cores.size()) return i;

  subscriber_core& first_core = *cores[0];
  subscriber_parts& first = *first_core.parts_;
  node& self = *first.owner;
  // Nobody wakes an observer.
  const bool observes = std::any_of(cores.begin(), cores.end(), [](const auto* c) { return c->parts_->observes(); });
  const node_settings& settings = self.settings();
  const auto recheck_all = [&] {
    self.forget_probes();
    for (subscriber_core* const core : cores) core->recheck_publishers();
    first.recheck = deadline(settings.recheck);
  };
  const auto began = std::chrono::steady_clock::now();
  const deadline end(timeout);

  if (settings.how == wait::spin || (settings.how == wait::adaptive && first.spinning_pays)) {
    const deadline spin(settings.how == wait::spin ? timeout : std::min(timeout, settings.spin_max));
    do {
      for (int turn = 0; turn < 64; ++turn) {
        if (const std::size_t i = look(); i < cores.size()) return i;
        cpu_relax();
      }
      if (settings.how == wait::spin && first.recheck.over()) recheck_all();
    } while (!spin.over() && !self.interrupt_requested());
  }

  for (;;) {
    bool late = false;
    bool rung = false;
    bool timed_out = false;
    std::size_t i = cores.size();
    doze(
        self.bell(),
        [&] {
          for (subscriber_core* const core : cores) core->set_armed_bit();
        },
        // Last whether to stop: a look may take what interrupt() wrote to the sockets' epoll.
        [&] { return (i = look()) < cores.size() || self.interrupt_requested(); }, [&] { return self.any_ready(); },
        [&](nap& pause) {
          const auto left = end.left();
          timed_out = left.count() == 0;
          if (timed_out) return;
          const auto asleep = std::chrono::steady_clock::now();
          for (subscriber_core* const core : cores) core->show_counters();
          const auto most = std::min(left, observes ? std::min(observer_period, settings.recheck) : settings.recheck);
          if (self.on_kernel()) {
            first_core.sleep_on_sockets(cores, most);
          } else {
            pause.sleep(most);
          }
          late = std::chrono::steady_clock::now() - asleep >= settings.recheck;
          rung = pause.rung();
        },
        [&] { self.take_ready(); });
    if (self.attachment) self.attachment->slept_beside();
    if (self.interrupt_requested()) {
      if (i = look(); i < cores.size()) return i;
      self.take_interrupt();
      return tl::unexpected(error(errc::interrupted));
    }
    if (timed_out && i == cores.size()) {
      if (first.recheck.over()) recheck_all();
      return tl::unexpected(error(errc::timed_out));
    }
    // Not only when late: a caller whose timeouts are shorter than that never is.
    if (i == cores.size() && (late || first.recheck.over())) {
      recheck_all();
      i = look();
    }
    const bool found = i < cores.size();
    self.count_sleep(late && found ? node::wake::late : rung && !found ? node::wake::vain : node::wake::in_time);
    if (i < cores.size()) {
      // Spinning pays if it would have been enough this time.
      first.spinning_pays = std::chrono::steady_clock::now() - began <= 2 * settings.spin_max;
      return i;
    }
  }
}

}  // namespace quoit::inline v1::detail
