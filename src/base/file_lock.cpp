#include "base/file_lock.hpp"

#include <fcntl.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "base/call_counts.hpp"
#include "base/deadline.hpp"

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

thread_local lock_wait_limit* limit_here = nullptr;

}  // namespace

lock_status try_lock(int fd, off_t byte) noexcept { return try_any(fd, F_WRLCK, byte); }

lock_status try_lock_shared(int fd, off_t byte) noexcept { return try_any(fd, F_RDLCK, byte); }

lock_wait_limit::lock_wait_limit(std::chrono::nanoseconds total) noexcept
    : left_(total), outermost_(limit_here == nullptr) {
  if (outermost_) limit_here = this;
}

lock_wait_limit::~lock_wait_limit() {
  if (outermost_) limit_here = nullptr;
}

std::chrono::nanoseconds lock_wait_limit::left(std::chrono::nanoseconds without) noexcept {
  return limit_here == nullptr ? without : std::max(limit_here->left_, std::chrono::nanoseconds(0));
}

void lock_wait_limit::spend(std::chrono::nanoseconds waited) noexcept {
  if (limit_here != nullptr) limit_here->left_ -= waited;
}

lock_status lock(int fd, off_t byte, std::chrono::nanoseconds timeout) noexcept {
  lock_status status = try_lock(fd, byte);
  if (status != lock_status::held_by_other) return status;
  // There is no lock call with a timeout. Locks are held for microseconds: a holder that has it longer was
  // stopped, or is making something large.
  const auto begin = std::chrono::steady_clock::now();
  const deadline end(std::min(timeout, lock_wait_limit::left(timeout)));
  long pause_ns = 10'000;
  while (status == lock_status::held_by_other && !end.over()) {
    const timespec pause{0, pause_ns};
    count_call(calls_made.sleeps);
    ::nanosleep(&pause, nullptr);
    pause_ns = std::min(pause_ns * 2, 5'000'000L);
    status = try_lock(fd, byte);
  }
  lock_wait_limit::spend(std::chrono::steady_clock::now() - begin);
  return status;
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
