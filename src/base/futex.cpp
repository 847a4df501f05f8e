#include "base/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>

#include "base/call_counts.hpp"

namespace quoit::inline v1::detail {

void futex_wait(const std::uint32_t& word, std::uint32_t expected, std::chrono::nanoseconds timeout) noexcept {
  timespec limit{};
  const timespec* limit_or_none = nullptr;
  if (timeout.count() >= 0) {
    limit.tv_sec = static_cast<time_t>(timeout.count() / 1'000'000'000);
    limit.tv_nsec = static_cast<long>(timeout.count() % 1'000'000'000);
    limit_or_none = &limit;
  }
  const int saved = errno;
  count_call(calls_made.sleeps);
  ::syscall(SYS_futex, &word, FUTEX_WAIT, expected, limit_or_none, nullptr, 0);
  errno = saved;
}

void futex_wake(const std::uint32_t& word) noexcept {
  const int saved = errno;
  count_call(calls_made.wakes);
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  errno = saved;
}

}  // namespace quoit::inline v1::detail
