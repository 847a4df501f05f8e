#include "base/file_lock.hpp"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "base/call_counts.hpp"

namespace quoit::inline v1::detail {

namespace {

struct flock on_bytes(short type, off_t first, off_t count) noexcept {
  struct flock range{};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = first;
  range.l_len = count;
  return range;
}

int set_lock(int fd, struct flock& range) noexcept {
  count_call(calls_made.others);
  return ::fcntl(fd, F_OFD_SETLK, &range);
}

lock_status try_any(int fd, short type, off_t byte) noexcept {
  struct flock range = on_bytes(type, byte, 1);
  while (set_lock(fd, range) != 0) {
    if (errno == EAGAIN || errno == EACCES) return lock_status::held_by_other;
    if (errno != EINTR) return lock_status::failed;
  }
  return lock_status::taken;
}

}  // namespace

lock_status try_lock(int fd, off_t byte) noexcept { return try_any(fd, F_WRLCK, byte); }

lock_status try_lock_shared(int fd, off_t byte) noexcept { return try_any(fd, F_RDLCK, byte); }

lock_status lock(int fd, off_t byte, std::chrono::nanoseconds timeout) noexcept {
  // There is no lock call with a timeout. Locks are held for microseconds: a holder that has it longer was
  // stopped, or is making something large.
  const auto end =
      std::chrono::steady_clock::now() +
      std::clamp<std::chrono::nanoseconds>(timeout, std::chrono::nanoseconds(0), std::chrono::hours(24 * 365));
  long pause_ns = 10'000;
  for (;;) {
    const lock_status status = try_lock(fd, byte);
    if (status != lock_status::held_by_other) return status;
    if (std::chrono::steady_clock::now() >= end) return status;
    const timespec pause{0, pause_ns};
    count_call(calls_made.sleeps);
    ::nanosleep(&pause, nullptr);
    pause_ns = std::min(pause_ns * 2, 5'000'000L);
  }
}

void unlock(int fd, off_t byte) noexcept {
  struct flock range = on_bytes(F_UNLCK, byte, 1);
  set_lock(fd, range);
}

std::optional<off_t> byte_held_by_other(int fd, off_t first, off_t count) noexcept {
  struct flock range = on_bytes(F_WRLCK, first, count);
  count_call(calls_made.others);
  // An answer that cannot be had means "alive": nothing is cleaned up on a guess.
  if (::fcntl(fd, F_OFD_GETLK, &range) != 0) return first;
  if (range.l_type == F_UNLCK) return std::nullopt;
  return std::max(range.l_start, first);
}

bool held_by_other(int fd, off_t first, off_t count) noexcept {
  return byte_held_by_other(fd, first, count).has_value();
}

}  // namespace quoit::inline v1::detail
