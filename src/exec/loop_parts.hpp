#pragma once

#include <sys/types.h>

#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "base/fd.hpp"
#include "exec/inbox.hpp"
#include "exec/kernel_queue.hpp"

namespace quoit::inline v1::detail {

// The wait of one source on its word: in flight from one sleep to the next, until somebody wakes it. It may outlive its
// source, and then goes with its completion.
struct word_wait : operation {
  bool orphaned = false;
  int to_read = -1;             // what to read when it is complete: it was a poll
  word_wait** spent = nullptr;  // where it goes then: whoever takes completions may still be looking at it
  word_wait* next_spent = nullptr;
};

// Ends whatever sleep it falls into; in flight from one to the next.
struct loop_alarm : operation {
  kernel_time time;  // the same, for the kernel
  std::int64_t at_ns = 0;
  bool refused = false;
};

// What a loop shows to one that it is run in: an epoll descriptor over its engine's, its inbox's and a timer.
class foreign_face {
 public:
  // Readable at first. Errors: limit_reached (descriptors), system.
  static result<std::unique_ptr<foreign_face>> make(int engine, int inbox);
  int descriptor() const noexcept { return set_.get(); }
  // Readable from that time of CLOCK_MONOTONIC on, and perhaps once before. `never`: not for the sake of the time.
  void readable_at(std::int64_t at_ns, std::int64_t now_ns) noexcept;
  void readable_now() noexcept { readable_at(1, 0); }
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

 private:
  fd timer_;
  fd set_;
  std::int64_t rings_ns_ = never;
};

// All loops, as fork() finds them.
struct loops_of_process {
  static void add(loop& one) noexcept;
  static void remove(loop& one) noexcept;
  // To this thread.
  static void bind(loop& one) noexcept;
  // In a child, before fork() returns.
  static void enter_child() noexcept;
};

struct loop_parts {
  kernel_queue ring;
  inbox in;
  operation bell;  // the read of the inbox's descriptor
  loop_alarm alarm;
  std::thread::id thread;
  word_wait* spent = nullptr;
  std::unique_ptr<foreign_face> face;

  loop_parts() = default;
  loop_parts(const loop_parts&) = delete;
  loop_parts& operator=(const loop_parts&) = delete;
  ~loop_parts() { free_spent(); }
  void free_spent() noexcept {
    while (spent != nullptr) delete std::exchange(spent, spent->next_spent);
  }
};

}  // namespace quoit::inline v1::detail
