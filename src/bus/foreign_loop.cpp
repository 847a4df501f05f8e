// Endpoints in loops that are not quoit's: their descriptors, and what poll() and a claim do for them.
#include "bus/publisher_parts.hpp"
#include "bus/subscriber_parts.hpp"
#include "quoit/detail/atomic.hpp"
#include "wake/doze.hpp"

namespace quoit::inline v1::detail {

// ---- subscriptions -------------------------------------------------------------------------------------

result<int> subscriber_core::descriptor() {
  if (epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
  if (!open_) return tl::unexpected(error(errc::closed));
  if (parts_->foreign) return parts_->foreign->descriptor();
  if (parts_->observes()) {
    return tl::unexpected(error(errc::invalid_argument,
                                "nobody wakes an observer, so it has no descriptor: poll() it at times of your own"));
  }
  node& self = *parts_->owner;
  using ringer = foreign_bell::ringer;
  auto made = parts_->sockets
                  ? foreign_bell::make(self, ringer::nobody, parts_->sockets->descriptor(), self.settings().recheck)
                  : foreign_bell::make(self, ringer::processes, -1, self.settings().recheck);
  if (!made) return tl::unexpected(std::move(made.error()));
  parts_->foreign = std::move(*made);
  // relaxed: its first look comes after a fence, and it is readable until then
  if (!parts_->sockets) store_relaxed(parts_->control.subscription(parts_->index).pipe, parts_->foreign->pipe());
  set_only();
  return parts_->foreign->descriptor();
}

void subscriber_core::drop_descriptor() noexcept {
  if (!parts_->foreign) return;
  // relaxed: whoever still writes there finds nothing, or nobody who listens
  if (epoch_ == fork_epoch && !parts_->sockets) store_relaxed(parts_->control.subscription(parts_->index).pipe, 0);
  parts_->foreign.reset();
}

// There was nothing. So the descriptor is not readable from now on until somebody fires us (B1 to B3): what was written
// for what we have seen is taken, then the bit is set, and then we look once more.
subscriber_core::polled subscriber_core::look_for_foreign_loop(held_message& out) noexcept {
  foreign_bell& bell = *parts_->foreign;
  if (bell.recheck_is_due()) {
    parts_->owner->forget_probes();
    recheck_publishers();
  }
  bell.clear();
  set_armed_bit();
  // sync(wake.commit): either the look that follows sees the commit, or the publisher's look sees the armed bit
  full_fence();
  const polled status = look_once(out);
  // Whoever made it visible may have been there before the bit.
  if (status != polled::nothing) bell.ring();
  return status;
}

// ---- publishers ----------------------------------------------------------------------------------------

result<int> publisher_core::descriptor() {
  if (epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
  if (!open_) return tl::unexpected(error(errc::closed));
  if (parts_->foreign) return parts_->foreign->descriptor();
  if (parts_->disk) {
    return tl::unexpected(
        error(errc::invalid_argument,
              "a publisher on disk waits for no subscriber, so it has no descriptor: the next file is "
              "there soon after try_loan() says would_block"));
  }
  node& self = *parts_->owner;
  using ringer = foreign_bell::ringer;
  auto made =
      foreign_bell::make(self, parts_->sockets ? ringer::threads : ringer::processes, -1, self.settings().recheck);
  if (!made) return tl::unexpected(std::move(made.error()));
  parts_->foreign = std::move(*made);
  if (parts_->sockets) {
    parts_->sockets->tell_of_room(parts_->foreign->written_to());
  } else {
    // relaxed: whoever is to write there takes a `waiting` that is set after this
    store_relaxed(parts_->control.publisher(parts_->index).pipe, parts_->foreign->pipe());
  }
  return parts_->foreign->descriptor();
}

void publisher_core::drop_descriptor() noexcept {
  if (!parts_->foreign) return;
  if (epoch_ == fork_epoch && parts_->sockets) parts_->sockets->tell_of_room(-1);
  // relaxed: whoever still writes there finds nothing, or nobody who listens
  if (epoch_ == fork_epoch && !parts_->sockets) store_relaxed(parts_->control.publisher(parts_->index).pipe, 0);
  parts_->foreign.reset();
}

// There was no space, because of a reader. So the descriptor is not readable from now on until a reader moves (C1, C2):
// what was written for moves that we have seen is taken, then `waiting` is set, and then we look once more. It is never
// taken back (announce_waiting()), also not where this look finds space: a coroutine may have said so for itself.
bool publisher_core::look_for_foreign_loop(u32 payload_bytes, lane_claim& out) noexcept {
  foreign_bell& bell = *parts_->foreign;
  // Who is in the way may be dead.
  if (bell.recheck_is_due()) probe_blocker();
  const bool granted = ask_for_space([&] { bell.clear(); }, [&] { announce_waiting(true); },
                                     [&] { return writer_->would_grant(payload_bytes); });
  if (!granted) return false;
  bell.ring();
  return claim(payload_bytes, out, true);
}

}  // namespace quoit::inline v1::detail
