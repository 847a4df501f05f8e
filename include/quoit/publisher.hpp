#pragma once

#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>

#include "quoit/loan.hpp"
#include "quoit/loan_operation.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

// Who is in the way of a loan that would block.
struct blocker {
  static constexpr std::uint32_t nobody = 0xffffffff;

  std::uint32_t subscription;  // as `quoit topic list` numbers it; or nobody
  std::uint32_t pid;           // in the pid namespace of its process; 0: nobody
  std::string node;            // the name of its node; empty: nobody
};

// Publishes messages of type T on one topic, in a ring of its own.
//
// Move-only. Its lane lives on until every subscriber that was there has read it to its end.
// Thread safety: one thread at a time. After a fork, a child's copy answers errc::forked.
template <class T>
class publisher {
  static_assert(detail::usable_message<T>());

 public:
  // A message in shared memory, value-initialised, to be filled and published. Never blocks.
  //
  // Errors: would_block (blocked_by() says who; value(): its subscription, or blocker::nobody), too_many_loans, closed,
  // forked. No allocation. On disk nobody is ever in the way, but the next file may not be there yet (would_block; a
  // helper thread makes files ahead), and there may be no room for it (no_space, or whatever else it was, in words;
  // tried again every 50 ms: a later loan succeeds).
  result<quoit::loan<T>> try_loan() noexcept
    requires(!variable_size<T>)
  {
    return constructed();
  }
  // The same; waits for space, on disk for the next file, at most `timeout`. Blocks this thread.
  // Errors: also timed_out, interrupted (bus::interrupt()); would_block at once under policy fail, and where loans of
  // one's own are in the way.
  result<quoit::loan<T>> loan_for(duration timeout) noexcept
    requires(!variable_size<T>)
  {
    return constructed(timeout);
  }

  // The same without initialising it: what is not written is what lay there before.
  result<quoit::loan<T>> try_loan_uninit() noexcept
    requires(!variable_size<T>)
  {
    return wrapped(sizeof(T));
  }
  result<quoit::loan<T>> loan_uninit_for(duration timeout) noexcept
    requires(!variable_size<T>)
  {
    return wrapped(sizeof(T), timeout);
  }

  // A message of `n` bytes, not initialised. Errors: as try_loan(), and message_too_large (value(): the
  // capacity_bytes that a lane for it needs, on disk the segment_bytes; 0: no lane takes it).
  result<quoit::loan<T>> try_loan_bytes(std::size_t n) noexcept
    requires variable_size<T>
  {
    return wrapped(clamped(n));
  }
  result<quoit::loan<T>> loan_bytes_for(std::size_t n, duration timeout) noexcept
    requires variable_size<T>
  {
    return wrapped(clamped(n), timeout);
  }

  // co_await loan(): as loan_for(), without an end, in a task of an executor, which from then on is that of this bus.
  // Suspends while reliable subscribers hold the space, and after each 64 loans that did not, so that everybody else
  // goes on; goes on on the same executor. A loan that its task does not live to take is abandoned.
  //
  // Errors: as try_loan(), cancelled (a stop of the task comes first, also if there is space), wrong_thread; closed if
  // the publisher goes meanwhile.
  detail::loan_operation<T> loan() noexcept
    requires(!variable_size<T>)
  {
    return detail::loan_operation<T>(*core_, sizeof(T), true);
  }
  detail::loan_operation<T> loan_uninit() noexcept
    requires(!variable_size<T>)
  {
    return detail::loan_operation<T>(*core_, sizeof(T), false);
  }
  detail::loan_operation<T> loan_bytes(std::size_t n) noexcept
    requires variable_size<T>
  {
    return detail::loan_operation<T>(*core_, clamped(n), false);
  }
  // A descriptor for a loop that is not quoit's (poll, epoll, Asio, ...): readable while try_loan(), or publish(), may
  // succeed. Level-triggered: it stays readable until subscribers were in the way of one, and becomes readable again
  // when one of them moves, leaves, or is found dead. It is readable at first, and may be so for nothing. Do not read
  // from it, write to it or close it; take it out of the loop before this publisher goes, or is moved from. Wait for it
  // only after would_block: else it is readable nearly always.
  //
  // It speaks of subscribers: where loans of one's own are in the way (blocked_by() is nobody, or too_many_loans) it
  // stays as it is: publish or drop one, and try again. Once in bus_options recheck it is readable in any case, for who
  // was in the way and died. From the first call on a try_loan() that would block costs one or two system calls, and a
  // subscriber that then makes room one more; what succeeds costs nothing more. May be mixed with loan() and
  // loan_for().
  //
  // Takes three descriptors, until the publisher goes. Errors: forked, closed; invalid_argument in inherited memory and
  // on disk; limit_reached (descriptors), no_space, no_permission, system.
  result<int> fd() { return core_->descriptor(); }
  // co_await matched(n): until the topic has at least n subscriptions. Looks once in a millisecond.
  // Errors: cancelled, forked.
  task<result<void>> matched(std::uint32_t n) { return core_->matched(n); }

  // Copies a message into shared memory and publishes it. Never blocks. Behind an open loan it is visible only once
  // that is published or dropped, and counts as a loan (loans_max) until then. Errors: as try_loan().
  result<void> publish(const T& value) noexcept
    requires(!variable_size<T>)
  {
    return copied(&value, sizeof(T));
  }
  result<void> publish_for(const T& value, duration timeout) noexcept
    requires(!variable_size<T>)
  {
    return copied(&value, sizeof(T), timeout);
  }
  result<void> publish(std::span<const std::byte> message) noexcept
    requires std::same_as<T, bytes>
  {
    return copied(message.data(), message.size());
  }
  result<void> publish_for(std::span<const std::byte> message, duration timeout) noexcept
    requires std::same_as<T, bytes>
  {
    return copied(message.data(), message.size(), timeout);
  }
  result<void> publish(std::string_view message) noexcept
    requires std::same_as<T, text>
  {
    return copied(message.data(), message.size());
  }
  result<void> publish_for(std::string_view message, duration timeout) noexcept
    requires std::same_as<T, text>
  {
    return copied(message.data(), message.size(), timeout);
  }
  // Encodes into shared memory.
  result<void> publish(const T& value)
    requires coded<T>
  {
    return encoded(value);
  }
  result<void> publish_for(const T& value, duration timeout)
    requires coded<T>
  {
    return encoded(value, timeout);
  }

  // Copies messages and publishes them, with one look for sleepers for all. How many were published: fewer
  // than given if space runs out. Never blocks. Errors: as try_loan(), if there was not room for one.
  result<std::size_t> publish_batch(std::span<const T> messages) noexcept
    requires(!variable_size<T>)
  {
    return core_->publish_batch(reinterpret_cast<const std::byte*>(messages.data()), sizeof(T), messages.size());
  }

  // Waits until what was published is safe, at most `timeout`. On disk, whatever the durability, it is safe when it
  // survives a power failure: the publisher's helper thread writes it back, at once for all that ask, or this one does
  // if `timeout` is 10 s or more. In memory it is safe when the death of this process cannot take it back: in shared
  // memory with the return of publish(), and this returns at once; on the kernel path once the sockets have taken all
  // that is visible, for every subscription that is there: a subscriber that does not read keeps it from them. (In
  // sealed memory a lane goes with its publisher: there it holds for those who have begun to read it.) What
  // is behind an open loan is not visible yet. Blocks this thread.
  //
  // Errors: timed_out, interrupted (on disk not while this thread itself writes back), forked; on disk what the disk
  // said, as a rule system with an errno, in words: what was published since the last flush may be lost with the
  // machine. That is said once; the file is left, and the next flush speaks of what is published from here on. On disk
  // also not_found, for as long as it is so: the directory of the topic, or one above, was renamed, removed or
  // replaced, and nobody finds there what is published.
  result<void> flush_for(duration timeout) noexcept { return core_->flush(timeout); }
  // co_await flush(): the same, without an end. Suspends; goes on on the same executor. On disk the helper thread wakes
  // it, and the executor is from then on that of this bus; on the kernel path it looks once in a millisecond. The
  // publisher stays until it is over. Errors: as above, and cancelled; on disk also wrong_thread, and closed if the
  // publisher goes meanwhile.
  task<result<void>> flush() { return core_->flush_async(); }

  // Topics on disk: every message before this sequence is known to be on the disk, but for those of which a flush has
  // said that they may be lost. It may be too low, and is 0 in memory.
  std::uint64_t durable_sequence() const noexcept { return core_->durable_sequence(); }
  // Topics on disk: what was found of the publisher's lane when it was opened, and what was cut off because it was
  // torn by a power failure. In memory nothing.
  recovery_summary recovery() const { return core_->recovery(); }

  // Subscriptions of the topic, now: each gets, or is told that it lost, whatever is published from now on.
  std::uint32_t subscribers() const noexcept { return core_->subscribers(); }
  // The sequence that the next message has. It is never that of another message; on disk it jumps where the publisher
  // cannot know which were used before, as after a power failure, and in a copy.
  std::uint64_t sequence() const noexcept { return core_->published(); }
  // System calls made to wake a subscriber.
  std::uint64_t wakes() const noexcept { return core_->wakes(); }
  // The largest message, and the size of the ring, on disk of a file, in bytes.
  std::size_t message_bytes_max() const noexcept { return core_->payload_bytes_max(); }
  std::uint64_t capacity_bytes() const noexcept { return core_->capacity_bytes(); }
  // Policy overwrite: true if, with the subscriptions of now and whatever they hold, no loan is ever refused:
  // there are at least 2 strides more than they can cover, 2 + 2 x samples_max for each.
  bool never_refuses() const noexcept { return core_->never_refuses(); }
  // The way that its messages go (shared_memory or kernel), and why.
  transport_info transport() const { return core_->transport(); }
  // After would_block or timed_out: the subscription that is furthest behind, or holds most. `nobody` if loans of one's
  // own are in the way, if whoever was has moved on since, and when the last loan was not refused so.
  blocker blocked_by() const {
    const detail::blocked_by who = core_->who_blocks();
    return {who.subscription, who.pid, who.node_name};
  }

 private:
  friend class bus;
  explicit publisher(detail::publisher_core::owned core) noexcept : core_(std::move(core)) {}

  static std::uint32_t clamped(std::size_t n) noexcept {
    return n < 0xffffffffu ? static_cast<std::uint32_t>(n) : 0xffffffffu;
  }
  // `timeout`: one, or none for what never blocks.
  template <class... Timeout>
  result<quoit::loan<T>> wrapped(std::uint32_t n, Timeout... timeout) noexcept {
    result<quoit::loan<T>> out(tl::in_place);
    if (core_->claim(n, out->claim_, timeout...)) [[likely]] {
      out->core_ = core_.get();
    } else {
      out = tl::make_unexpected(core_->why_refused());
    }
    return out;
  }
  template <class... Timeout>
  result<quoit::loan<T>> constructed(Timeout... timeout) noexcept {
    auto out = wrapped(sizeof(T), timeout...);
    if (out) [[likely]]
      ::new (static_cast<void*>(out->claim_.payload)) T();
    return out;
  }
  template <class... Timeout>
  result<void> copied(const void* message, std::size_t n, Timeout... timeout) noexcept {
    detail::lane_claim claim;
    if (!core_->claim(clamped(n), claim, timeout...)) [[unlikely]]
      return tl::make_unexpected(core_->why_refused());
    if (n != 0) std::memcpy(claim.payload, message, n);
    core_->commit(claim, claim.payload_bytes);
    return {};
  }
  template <class... Timeout>
  result<void> encoded(const T& value, Timeout... timeout) {
    auto loaned = wrapped(clamped(codec<T>::encoded_bytes(value)), timeout...);
    if (!loaned) return tl::make_unexpected(std::move(loaned.error()));
    // Abandoned if the codec throws.
    const std::size_t used = codec<T>::encode(value, loaned->data());
    std::move(*loaned).publish(used);
    return {};
  }

  detail::publisher_core::owned core_;
};

}  // namespace quoit::inline v1
