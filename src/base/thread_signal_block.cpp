#include "base/thread_signal_block.hpp"

#include <time.h>

#include <cerrno>

namespace quoit::inline v1::detail {

thread_signal_block::thread_signal_block(int number) noexcept {
  ::sigemptyset(&blocked_);
  ::sigaddset(&blocked_, number);
  ::pthread_sigmask(SIG_BLOCK, &blocked_, &before_);
  sigset_t pending;
  was_pending_ = ::sigpending(&pending) == 0 && ::sigismember(&pending, number) == 1;
}

thread_signal_block::~thread_signal_block() {
  const int kept = errno;
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  errno = kept;
}

void thread_signal_block::take() const noexcept {
  if (was_pending_) return;
  const int kept = errno;
  const timespec at_once{};
  // The kernel gives out what was sent to this thread before what was sent to the process.
  while (::sigtimedwait(&blocked_, nullptr, &at_once) < 0 && errno == EINTR) {
  }
  errno = kept;
}

}  // namespace quoit::inline v1::detail
