// What messages cost: system calls, and copies through the kernel.
#pragma once

#include <cstdint>

#include "quoit/detail/export.hpp"

namespace quoit::inline v1 {

// Of this process, all buses and executors together, since it began; a forked child counts on from its parent's.
//
// The system calls are those that this library makes while messages go, and while nothing is opened or closed: in
// shared memory nobody makes one but who sleeps, and who wakes him. What opening, closing and cleaning up take is not
// in it, but for the locks; nor is what the C library does for memory and for threads.
struct counters {
  std::uint64_t sends = 0;     // kernel path: a message was sent, or did not fit into the socket
  std::uint64_t receives = 0;  // kernel path: a message was received, or there was none
  std::uint64_t looks = 0;     // kernel path: which sockets have something; who spins asks again and again
  std::uint64_t sleeps = 0;    // a thread waited
  std::uint64_t wakes = 0;     // a thread was woken
  std::uint64_t enters = 0;    // of an executor: of io_uring, each for whatever was submitted, waited for and completed
                               // in one; on epoll, all that it asks for and waits with
  std::uint64_t others = 0;    // locks that were asked for, to know who is alive; what a socket is watched for
  // Kernel path: messages that were copied into the kernel or out of it, and their bytes. In shared memory this
  // library copies nothing but in publish(), publish_batch() and for observers: those are the caller's own to count.
  std::uint64_t copies = 0;
  std::uint64_t copied_bytes = 0;

  std::uint64_t system_calls() const noexcept { return sends + receives + looks + sleeps + wakes + enters + others; }
};

// Any thread. Counts that other threads change meanwhile are of different moments. No system call.
QUOIT_EXPORT counters process_counters() noexcept;

// What was counted from `before` to `after`.
inline counters operator-(const counters& after, const counters& before) noexcept {
  return {after.sends - before.sends,   after.receives - before.receives, after.looks - before.looks,
          after.sleeps - before.sleeps, after.wakes - before.wakes,       after.enters - before.enters,
          after.others - before.others, after.copies - before.copies,     after.copied_bytes - before.copied_bytes};
}

}  // namespace quoit::inline v1
