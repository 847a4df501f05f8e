#pragma once

#include <algorithm>
#include <chrono>
#include <memory>

#include "quoit/detail/bus_waits.hpp"
#include "quoit/sample.hpp"

namespace quoit::inline v1 {

template <class>
class replay;

namespace detail {

template <class T>
class next_awaiter {
 public:
  explicit next_awaiter(subscriber_core& core) noexcept
      : core_(core), out_(tl::in_place), wait_(core, out_->message_) {}
  bool await_ready() const noexcept { return false; }  // a stop comes first, and who awaits knows of it
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    return wait_.begin(promise_of(h), h);
  }
  result<sample<T>> await_resume() noexcept {
    if (wait_.end() == subscriber_core::polled::failed) [[unlikely]] {
      out_ = tl::make_unexpected(wait_.why());
    } else {
      out_->core_ = &core_;
      if (!size_fits<T>(out_->data().size())) [[unlikely]]
        out_ = tl::make_unexpected(error(errc::corrupt));
    }
    return std::move(out_);
  }

 private:
  subscriber_core& core_;
  result<sample<T>> out_;
  receive_wait wait_;
};

template <class T>
class next_batch_awaiter : public next_awaiter<T> {
 public:
  using next_awaiter<T>::next_awaiter;
  result<batch<T>> await_resume() noexcept {
    auto first = next_awaiter<T>::await_resume();
    if (!first) return tl::make_unexpected(std::move(first.error()));
    return batch<T>(std::move(*first));
  }
};

// What next() makes: small, and copied freely; the awaiter comes of it where it is awaited.
template <class Awaiter>
class receive_operation {
 public:
  explicit receive_operation(subscriber_core& core) noexcept : core_(&core) {}
  Awaiter operator co_await() const noexcept { return Awaiter(*core_); }

 private:
  subscriber_core* core_;
};

}  // namespace detail

// Receives what every publisher of a topic publishes: each publisher's messages in its order.
//
// Move-only; may be moved while samples are held. Thread safety: one thread at a time. After a fork, a child's
// copy answers errc::forked.
template <class T>
class subscriber {
  static_assert(detail::usable_message<T>());

 public:
  // The next message, or an empty sample if there is none. Never blocks, allocates nothing.
  //
  // Errors: lagged (value(): messages overwritten, or on disk removed, before they were read; the next poll goes on
  // behind them), too_many_samples, forked, closed; no_permission, limit_reached (descriptors) or system, once, if a
  // publisher came whose lane cannot be opened: it is tried again, and the other publishers' messages go on. corrupt or
  // newer_version, once for each lane in which that is found: it is left, with what is in it, and the others go on.
  result<sample<T>> poll() noexcept {
    result<sample<T>> out(tl::in_place);
    hand_over(out, core_->poll(out->message_));
    return out;
  }

  // What lies together of the next publisher's messages, given back all at once. May be empty. As poll().
  result<batch<T>> poll_batch() noexcept {
    auto first = poll();
    if (!first) return tl::make_unexpected(std::move(first.error()));
    return batch<T>(std::move(*first));
  }

  // The next message. Blocks this thread until there is one, at most `timeout`; spins before it sleeps as the
  // bus was told (bus_options wait). A signal that is handled meanwhile ends no wait; bus::interrupt() does, also in a
  // handler. Errors: as poll(), and timed_out, interrupted.
  result<sample<T>> wait(duration timeout = (duration::max)()) noexcept {
    result<sample<T>> out(tl::in_place);
    hand_over(out, core_->wait_for(out->message_, timeout));
    return out;
  }

  // co_await next(): the next message, in a task of an executor, which from then on is that of this bus. Suspends until
  // there is one; other tasks go on meanwhile, and the executor sleeps if it has nothing else. Goes on on the same
  // executor. One coroutine at a time waits for one subscriber. One that always finds a message lets everybody else go
  // on after each 64. A message that its task does not live to take is given back, and was received.
  //
  // A stop of the task comes first, also if there is a message. Errors: as poll(), and cancelled; closed if the
  // subscriber goes meanwhile; busy if another coroutine waits for it; wrong_thread if its bus is awaited in another
  // executor. Allocates nothing but, in a bus that was opened without an executor, once; no_space if it cannot.
  detail::receive_operation<detail::next_awaiter<T>> next() noexcept {
    return detail::receive_operation<detail::next_awaiter<T>>(*core_);
  }
  // The same for what lies together of the next publisher's messages: as poll_batch(), but never empty.
  detail::receive_operation<detail::next_batch_awaiter<T>> next_batch() noexcept {
    return detail::receive_operation<detail::next_batch_awaiter<T>>(*core_);
  }

  // A descriptor for a loop that is not quoit's (poll, select, epoll, Asio, libuv, ...): readable while poll() may have
  // something. Level-triggered: take one message or many, it stays readable until a poll() found nothing, and becomes
  // readable again with the next message. It is readable at first, and may be so for nothing: never wait() because of
  // it. Do not read from it, write to it or close it; take it out of the loop before this subscriber goes, or is moved
  // from.
  //
  //   pollfd ready{sub.fd().value(), POLLIN, 0};
  //   while (::poll(&ready, 1, -1) > 0) {
  //     while (auto sample = sub.poll().value()) use(*sample);
  //   }
  //
  // Once in bus_options recheck it is readable in any case, for a wake that died with its waker. With as many samples
  // held as the subscription may hold it stays readable, as poll() has an error then: give one back first. From the
  // first call on a poll() that finds nothing costs one system call, and the publisher's wake one more. Other threads
  // may wait for the descriptor; poll() is for the subscriber's. wait() and next() may be mixed with it.
  //
  // Takes three descriptors, until the subscriber goes. Errors: forked, closed; invalid_argument for an observer, whom
  // nobody wakes, and in inherited memory; limit_reached (descriptors), no_space, no_permission, system.
  result<int> fd() { return core_->descriptor(); }

  // ---- of topics on disk; of others these answer invalid_argument ----

  // Goes to another place in what is kept: in lanes that are there, to `from`; start::at() is read in here. A coroutine
  // that waits goes on waiting, for what comes next from there. Errors: busy (samples are held; value(): how many),
  // forked, closed; corrupt, newer_version, no_permission, limit_reached or system for a lane that is left then, while
  // the others go on.
  result<void> seek(const start& from) { return core_->seek(from); }
  // Behind everything that was received, also what is still held. Errors: forked.
  result<cursor> position() const { return core_->position(); }
  // Of a named subscription: everything that was received and given back is done; whoever opens it again goes on behind
  // that. What is held, and what was received of the same publisher after it, comes again then: each message at least
  // once. A few stores for each publisher, and a system call once a second: it outlives this process at once, and the
  // machine when the kernel writes it back; after a power failure an older commit may be what is there. Errors: forked,
  // closed, limit_reached (the topic has had more than 1016 publishers since the subscription began), not_found (the
  // directory of the topic was renamed, removed or replaced: the next holder does not find what is committed here).
  result<void> commit() { return core_->commit(); }

  // Publishers of the topic, now.
  std::uint32_t publishers() const noexcept { return core_->publishers(); }
  // The way that its messages come (shared_memory or kernel), and why.
  transport_info transport() const { return core_->transport(); }
  // Messages lost so far, on all lanes.
  std::uint64_t lost() const noexcept { return core_->lost(); }

 private:
  // What was polled becomes the caller's.
  void hand_over(result<sample<T>>& out, detail::subscriber_core::polled polled) noexcept {
    if (polled == detail::subscriber_core::polled::message) [[likely]] {
      out->core_ = core_.get();
      if (!detail::size_fits<T>(out->data().size())) [[unlikely]]
        out = tl::make_unexpected(error(errc::corrupt));
    } else if (polled == detail::subscriber_core::polled::failed) [[unlikely]] {
      out = tl::make_unexpected(core_->why_failed());
    }
  }

  friend class bus;
  template <class>
  friend class replay;
  explicit subscriber(detail::subscriber_core::owned core) noexcept : core_(std::move(core)) {}

  detail::subscriber_core::owned core_;
};

}  // namespace quoit::inline v1
