// Requests without io_uring: done at once where that is possible, else when epoll says that their descriptor is ready,
// or on a helper thread. The same requests, the same answers.
//
// A request that waits has a duplicate of its descriptor in the epoll set: so several may wait for one, and one that
// is closed meanwhile goes on, as in io_uring. It costs three more system calls than a request that is answered at
// once: fcntl, epoll_ctl twice. Bells, which a loop sleeps on each time, stay in the set.
//
// Where the process has no descriptor to spare, a request that waits is tried again once in a millisecond, as long as
// its descriptor is still that of the same file; and what takes a disk is done here instead of by a helper.
#pragma once

#include <cstdint>

#include "base/fd.hpp"
#include "exec/helper_threads.hpp"
#include "quoit/detail/exec/operation.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

class epoll_queue {
 public:
  // Errors: limit_reached (descriptors), system.
  static result<void> open(epoll_queue& out);
  epoll_queue() = default;
  epoll_queue(const epoll_queue&) = delete;
  epoll_queue& operator=(const epoll_queue&) = delete;
  ~epoll_queue();

  // False: there is no memory.
  bool prepare(const io_request& request, operation& op) noexcept;
  void cancel(operation& op) noexcept;
  // A descriptor of a bell is going to be closed; nothing of it is in flight.
  void forget(int descriptor) noexcept;
  // Sleeps until an answer is there or `timeout_ns` is over (below 0: no end).
  void wait(std::int64_t timeout_ns) noexcept;
  // Readable when wait() would find something.
  int descriptor() const noexcept { return set_.get(); }
  // Answers that are here, as far as memory tells.
  bool anything() const noexcept { return done_ != nullptr || helpers_->anything(); }
  // Something waits in the epoll set: only a system call tells whether it is ready.
  bool must_ask() const noexcept { return registered_ != 0 || starved_ != 0; }
  // Something waits that no descriptor is in the set for: wait() is to return as often as that, and is called as often.
  bool must_try_again() const noexcept { return starved_ != 0; }
  static constexpr std::int64_t tried_again_after_ns = 1'000'000;

  // Calls `each(tag, result)` for what is complete. How many.
  template <class Each>
  unsigned take(Each each) noexcept {
    if (!asked_ && must_ask()) collect(0);
    asked_ = false;
    take_from_helpers();
    pending* list = done_;
    done_ = nullptr;
    done_end_ = &done_;
    unsigned count = 0;
    while (list != nullptr) {
      pending* const p = list;
      list = p->next;
      operation* const op = p->op;
      const std::int32_t answer = p->answer;
      free(p);
      ++count;
      each(static_cast<void*>(op), answer);
    }
    return count;
  }

  std::uint64_t system_calls() const noexcept { return calls_; }

 private:
  struct pending {
    partial_io io;
    operation* op = nullptr;
    fd watched;
    helper_job* job = nullptr;
    std::int32_t answer = 0;
    pending* next = nullptr;
    pending* before = nullptr;  // of those that wait, or are with a helper
    pending* after = nullptr;
    enum class state : std::uint8_t { waits, starved, listens, helped, done } now = state::waits;
    // Of a starved one: which file its descriptor is of.
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
  };
  // A descriptor that is in the set for as long as it is open: it is read once per ring, and asked for again and again.
  struct bell {
    int descriptor = -1;
    bool rung = false;  // and nobody asked
    pending* asked_by = nullptr;
    bell* next = nullptr;
  };

  void count(unsigned calls) noexcept;
  pending* allocate() noexcept;
  void free(pending* p) noexcept;
  void finish(pending& p, std::int32_t answer) noexcept;
  void go_on(pending& p, std::int32_t answer) noexcept;
  void listen(pending& p) noexcept;
  void watch(pending& p) noexcept;
  void starve(pending& p) noexcept;
  void try_starved_again() noexcept;
  void unwatch(pending& p) noexcept;
  void collect(std::int64_t timeout_ns) noexcept;
  void take_from_helpers() noexcept;
  int wait_for_events(void* events, int room, std::int64_t timeout_ns) noexcept;

  fd set_;
  fd timer_;  // where the kernel, or a filter, has no epoll_pwait2
  helper_threads* helpers_ = nullptr;
  pending* done_ = nullptr;
  pending** done_end_ = &done_;
  pending* held_ = nullptr;  // that wait, or are with a helper
  pending* free_ = nullptr;
  bell* bells_ = nullptr;
  unsigned registered_ = 0;
  unsigned starved_ = 0;
  bool asked_ = false;
  bool coarse_ = false;
  std::uint64_t calls_ = 0;
};

}  // namespace quoit::inline v1::detail
