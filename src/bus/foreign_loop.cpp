// Subscriptions in loops that are not quoit's: their descriptors, and what poll() does for them.
#include "bus/subscriber_parts.hpp"
#include "quoit/detail/atomic.hpp"

namespace quoit::inline v1::detail {

result<int> subscriber_core::descriptor() {
  if (epoch_ != fork_epoch) return tl::unexpected(error(errc::forked));
  if (!open_) return tl::unexpected(error(errc::closed));
  if (parts_->foreign) return parts_->foreign->descriptor();
  if (parts_->observes()) {
    return tl::unexpected(error(errc::invalid_argument,
                                "nobody wakes an observer, so it has no descriptor: poll() it at times of your own"));
  }
  node& self = *parts_->owner;
  auto made = foreign_bell::make(self, parts_->sockets ? parts_->sockets->descriptor() : -1, self.settings().recheck);
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

}  // namespace quoit::inline v1::detail
