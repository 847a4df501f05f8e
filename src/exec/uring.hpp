// The kernel's queues, set up as well as this kernel can.
//
// The ladder: DEFER_TASKRUN (6.1), where completions are run only when the loop asks for them; COOP_TASKRUN (5.19),
// where they do not interrupt it; and plain queues (5.15).
#pragma once

#include <liburing.h>

#include <cstdint>

#include "base/call_counts.hpp"
#include "base/fd.hpp"
#include "exec/direct_io.hpp"
#include "quoit/detail/exec/operation.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

class uring {
 public:
  // Errors: no_permission (the kernel, or a sandbox, forbids io_uring, or one of its calls), limit_reached
  // (descriptors), no_space (memory), system (there is none, or one that is too old).
  static result<void> open(uring& out, std::uint32_t entries);
  uring() = default;
  uring(const uring&) = delete;
  uring& operator=(const uring&) = delete;
  ~uring() { close(); }

  // On the thread that will use it, before anything else. An errno, or 0.
  int enable() noexcept;

  // For a thread that is not the one it was enabled on, before it goes: what that thread registered is not ours to
  // undo, and the same number may be something of this one.
  void leave_thread() noexcept {
    ring_.enter_ring_fd = ring_.ring_fd;
    ring_.int_flags = 0;
  }

  // Queues a request; false: the queue is full, and the kernel takes nothing before completions are taken.
  bool prepare(const io_request& request, operation& op) noexcept;
  // Asks for the end of a request; its own completion has no operation. False: as prepare().
  bool prepare_cancel(const operation& op) noexcept;
  bool pending() const noexcept { return io_uring_sq_ready(&ring_) != 0; }
  // What is queued goes to the kernel.
  void submit() noexcept {
    count_enter();
    io_uring_submit(&ring_);
  }
  // The same, and returns when a completion is there or `timeout_ns` is over (below 0: no end).
  void submit_and_wait(std::int64_t timeout_ns) noexcept;

  // Takes what is complete: calls `each(operation, result)` for it. How many.
  template <class Each>
  unsigned take(Each each) noexcept {
    io_uring_cqe* entries[batch];
    if (io_uring_cq_ready(&ring_) == 0 && kernel_holds_some()) count_enter();
    const unsigned count = io_uring_peek_batch_cqe(&ring_, entries, batch);
    for (unsigned i = 0; i < count; ++i) {
      const auto tag = static_cast<std::uintptr_t>(entries[i]->user_data);
      if ((tag & of_pipe_write) == 0) {
        each(reinterpret_cast<void*>(tag), entries[i]->res);
        continue;
      }
      std::int32_t answer = entries[i]->res;
      operation* const op = go_on(*reinterpret_cast<pipe_write*>(tag & ~of_pipe_write), answer);
      if (op != nullptr) each(static_cast<void*>(op), answer);
    }
    if (count != 0) io_uring_cq_advance(&ring_, count);
    return count;
  }
  // True if take() may find something, as far as memory tells.
  bool anything() const noexcept { return io_uring_cq_ready(&ring_) != 0 || kernel_holds_some(); }

  // A descriptor that is readable when there is something to take, made at the first call. The ring's own is not: with
  // deferred completions nobody who waits for that is told of those that the kernel holds. Before the ring is enabled,
  // or on its thread. Errors: limit_reached (descriptors), system.
  result<int> descriptor();
  // Linux 6.18 for one does not tell there of the second answer that comes of a write to an eventfd, as its notice is
  // an eventfd too.
  static constexpr std::int64_t unheard_ns = 250'000'000;
  // What becomes complete from now on makes it readable again.
  void acknowledge() noexcept;

  bool waits_on_futexes() const noexcept { return futexes_; }
  const char* describe() const noexcept { return rung_; }
  // Calls of io_uring_enter so far.
  std::uint64_t enters() const noexcept { return enters_; }

 private:
  void count_enter() noexcept {
    ++enters_;
    count_call(calls_made.enters);
  }
  static constexpr unsigned batch = 64;
  // A write to a pipe, where the kernel cannot be told to send no SIGPIPE: the ring waits until there is room, and this
  // thread writes, with the signal blocked.
  struct pipe_write {
    operation* op;
    partial_io io;
  };
  static constexpr std::uintptr_t of_pipe_write = 1;  // in a tag, beside the address

  result<void> look_closer(std::uint32_t features);
  void close() noexcept;
  io_uring_sqe* prepare_write(const io_request& r, operation& op) noexcept;
  io_uring_sqe* wait_for_room(pipe_write& w) noexcept;
  operation* go_on(pipe_write& w, std::int32_t& answer) noexcept;
  io_uring_sqe* entry() noexcept;
  // Completions that the kernel puts where they are seen when it is asked: IORING_SQ_CQ_OVERFLOW, IORING_SQ_TASKRUN.
  bool kernel_holds_some() const noexcept { return (*ring_.sq.kflags & (1u << 1 | 1u << 2)) != 0; }

  io_uring ring_{};
  fd descriptor_;  // of the ring
  fd answers_;     // an eventfd that the kernel writes to
  bool open_ = false;
  bool disabled_ = false;
  bool futexes_ = false;
  std::uint64_t enters_ = 0;
  const char* rung_ = "";
};

}  // namespace quoit::inline v1::detail
