#include "quoit/signals.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/call_failed.hpp"
#include "base/fd.hpp"
#include "quoit/io.hpp"

namespace quoit::inline v1 {

namespace {

// Of this thread: who has a signal blocked, and whether it was not blocked before the first of them.
struct blocking {
  unsigned count = 0;
  bool ours = false;
};
thread_local std::array<blocking, 64> blocked;

}  // namespace

result<signal_set> signal_set::open(std::initializer_list<int> numbers) {
  sigset_t wanted, before;
  ::sigemptyset(&wanted);
  for (const int number : numbers) {
    if (number < 1 || number > 63 || number == SIGKILL || number == SIGSTOP || ::sigaddset(&wanted, number) != 0) {
      return tl::unexpected(error(errc::invalid_argument, "signal " + std::to_string(number) + " cannot be awaited"));
    }
  }
  ::pthread_sigmask(SIG_BLOCK, &wanted, &before);
  detail::fd descriptor = detail::make_signalfd(wanted);
  if (!descriptor) {
    const int why = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return tl::unexpected(detail::call_failed("signalfd", why));
  }
  std::uint64_t bits = 0;
  for (const int number : numbers) bits |= std::uint64_t{1} << number;
  for (int number = 1; number < 64; ++number) {
    if ((bits >> number & 1) == 0) continue;
    blocking& b = blocked[static_cast<std::size_t>(number)];
    if (b.count++ == 0) b.ours = ::sigismember(&before, number) == 0;
  }
  return signal_set(descriptor.release(), bits);
}

signal_set::~signal_set() {
  if (fd_ < 0) return;
  ::close(fd_);
  sigset_t ours;
  ::sigemptyset(&ours);
  for (int number = 1; number < 64; ++number) {
    if ((numbers_ >> number & 1) == 0) continue;
    blocking& b = blocked[static_cast<std::size_t>(number)];
    if (b.count != 0 && --b.count == 0 && b.ours) ::sigaddset(&ours, number);
  }
  ::pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
}

task<result<int>> signal_set::next() {
  signalfd_siginfo info;
  if (epoch_ != detail::fork_epoch) co_return tl::unexpected(error(errc::forked));
  for (;;) {
    const auto ready = co_await poll(fd_, POLLIN);
    if (!ready) co_return tl::unexpected(ready.error());
    // Not awaited: a descriptor that another thread has for the same signal is ready at the same moment, and on epoll
    // the slower of the two would block its executor until the next signal.
    const auto got = ::read(fd_, &info, sizeof info);
    if (got == sizeof info) co_return static_cast<int>(info.ssi_signo);
    if (got >= 0) co_return tl::unexpected(error(errc::system, 0, EIO));
    if (errno != EAGAIN && errno != EINTR) co_return tl::unexpected(error(errc::system, 0, errno));
  }
}

}  // namespace quoit::inline v1
