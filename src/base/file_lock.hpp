// Open-file-description write locks on single bytes: the truth about who is alive.
//
// A lock belongs to the description that took it: it goes when the last descriptor and the last mapping of that
// description go, in whichever process. So nothing is mapped through a description that locks. A probe through the
// description that holds the byte says "free": liveness descriptions are opened for nothing else, and own bytes are
// never probed. A forked child would hold its parent's locks with it: see fork_guard.hpp.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>

namespace quoit::inline v1::detail {

enum class lock_status { taken, held_by_other, failed };

lock_status try_lock(int fd, off_t byte) noexcept;

// For reading: others may hold the byte for reading too. `held_by_other`: somebody holds it for writing.
lock_status try_lock_shared(int fd, off_t byte) noexcept;

// Tries until `timeout` is over, or what the call may wait altogether (below). `held_by_other` then.
lock_status lock(int fd, off_t byte, std::chrono::nanoseconds timeout) noexcept;

// While one exists, all calls of lock() in this thread together wait no longer than this. A call that takes several
// locks makes one at its begin, so that lock_timeout is the limit of the whole call. Inside of another one it does
// nothing.
class lock_wait_limit {
 public:
  explicit lock_wait_limit(std::chrono::nanoseconds total) noexcept;
  ~lock_wait_limit();
  lock_wait_limit(const lock_wait_limit&) = delete;
  lock_wait_limit& operator=(const lock_wait_limit&) = delete;

  // What is left of the limit of this thread; `without` if there is none.
  static std::chrono::nanoseconds left(std::chrono::nanoseconds without) noexcept;
  // Waited for something else that counts.
  static void spend(std::chrono::nanoseconds waited) noexcept;

 private:
  std::chrono::nanoseconds left_;
  bool outermost_;
};

void unlock(int fd, off_t byte) noexcept;

// True if some other description holds a lock on one of the bytes. One call, which the kernel answers for all of them
// at once; 0.4 µs, and 9 µs where a thousand locks are held on the file.
bool held_by_other(int fd, off_t first, off_t count) noexcept;
// One of the bytes on which some other description holds a lock; `first` where the kernel gives no answer.
std::optional<off_t> byte_held_by_other(int fd, off_t first, off_t count) noexcept;

}  // namespace quoit::inline v1::detail
