#pragma once

#include <sys/types.h>

#include <thread>

#include "exec/inbox.hpp"
#include "exec/uring.hpp"

namespace quoit::inline v1::detail {

// The wait of one source on its word: in flight from one sleep to the next, until somebody wakes it.
struct word_wait : operation {
  loop_source* source = nullptr;
};

struct loop_parts {
  uring ring;
  inbox in;
  operation bell;  // the read of the inbox's descriptor
  std::uint64_t bell_count = 0;
  std::thread::id thread;
};

}  // namespace quoit::inline v1::detail
