#pragma once

#include <sys/types.h>

#include <thread>
#include <utility>

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

struct loop_parts {
  kernel_queue ring;
  inbox in;
  operation bell;  // the read of the inbox's descriptor
  std::thread::id thread;
  word_wait* spent = nullptr;

  loop_parts() = default;
  loop_parts(const loop_parts&) = delete;
  loop_parts& operator=(const loop_parts&) = delete;
  ~loop_parts() { free_spent(); }
  void free_spent() noexcept {
    while (spent != nullptr) delete std::exchange(spent, spent->next_spent);
  }
};

}  // namespace quoit::inline v1::detail
