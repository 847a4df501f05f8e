// One request to the kernel, and what its completion resumes.
#pragma once

#include <cstdint>

#include "quoit/detail/exec/ready_queue.hpp"

namespace quoit::inline v1::detail {

enum class io_code : std::uint8_t {
  read,
  write,
  fsync,
  fdatasync,
  open,
  close,
  accept,
  connect,
  send,
  recv,
  poll,
  futex_wait,
  alarm,  // complete at a time of CLOCK_MONOTONIC; address: of a kernel_time
  bell,   // a read of a descriptor that only the loop reads
};

// As the kernel reads a time.
struct kernel_time {
  std::int64_t seconds = 0;
  long long nanoseconds = 0;
};

// The answer in a forked child, in the place of the kernel's: those are -errno, and none is as low.
inline constexpr std::int32_t forked_answer = -4096;

// What is asked of the kernel. Addresses are of memory that stays until the operation is complete.
struct io_request {
  io_code code;
  int fd = -1;
  const void* address = nullptr;
  std::uint32_t length = 0;
  std::uint32_t flags = 0;
  std::uint64_t offset = 0;
};

// In flight from loop::start() until its completion was seen. Stays in one place meanwhile.
struct operation : ready_node {
  enum class state : std::uint8_t { idle, in_flight, complete };

  std::int32_t result = 0;  // as the kernel answers: at least 0, or -errno; or forked_answer
  state now = state::idle;
  bool cancelling = false;
  bool abandoned = false;                       // nobody is resumed
  void (*call)(operation&) noexcept = nullptr;  // instead of resuming somebody
  operation* before = nullptr;
  operation* after = nullptr;
  void* in_queue = nullptr;   // what stands for it where there is no io_uring
  std::uint8_t refusals = 0;  // how often the kernel had no thread for it
  // Asked again where a signal that the application handles ended it before it did anything; null: EINTR is the answer.
  const io_request* again = nullptr;
};

}  // namespace quoit::inline v1::detail
