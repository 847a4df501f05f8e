// Calls that make a file larger, where RLIMIT_FSIZE (`ulimit -f`) may forbid it.
//
// Beyond that limit the kernel answers EFBIG, and sends the calling thread a SIGXFSZ, which ends a process that does
// not expect it. within_file_size_limit() leaves the answer alone: it blocks the signal in the calling thread for the
// time of the call and takes it away again. What the process does with SIGXFSZ, and every other thread, stays as it is.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/thread_signal_block.hpp"
#include "quoit/error.hpp"

namespace quoit::inline v1::detail {

// `call` answers less than 0 and sets errno, as system calls do. errno is as `call` left it.
template <class Call>
auto within_file_size_limit(Call&& call) noexcept {
  const thread_signal_block block(SIGXFSZ);
  const auto answer = call();
  if (answer < 0 && errno == EFBIG) block.take();
  return answer;
}

// Writes all bytes at the begin of the file. Returns 0, or the errno of the call that stopped it: EFBIG without a
// signal.
int write_whole(int fd, const void* from, std::size_t bytes) noexcept;

// After EFBIG: `limit_reached`, with the limit by its name where it is the process's own. `doing` names the file.
error file_size_limit_reached(const std::string& doing, std::uint64_t bytes);

}  // namespace quoit::inline v1::detail
