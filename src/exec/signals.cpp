#include "quoit/signals.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "base/call_failed.hpp"
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

result<signals> signals::open(std::initializer_list<int> numbers) {
  sigset_t wanted, before;
  ::sigemptyset(&wanted);
  for (const int number : numbers) {
    if (number < 1 || number > 63 || number == SIGKILL || number == SIGSTOP || ::sigaddset(&wanted, number) != 0) {
      return tl::unexpected(error(errc::invalid_argument, "signal " + std::to_string(number) + " cannot be awaited"));
    }
  }
  ::pthread_sigmask(SIG_BLOCK, &wanted, &before);
  const int fd = ::signalfd(-1, &wanted, SFD_CLOEXEC);
  if (fd < 0) {
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
  return signals(fd, bits);
}

signals::~signals() {
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

task<result<int>> signals::next() {
  signalfd_siginfo info;
  const auto got = co_await read(fd_, std::as_writable_bytes(std::span(&info, 1)));
  if (!got) co_return tl::unexpected(got.error());
  if (*got != sizeof info) co_return tl::unexpected(error(errc::system, 0, EIO));
  co_return static_cast<int>(info.ssi_signo);
}

}  // namespace quoit::inline v1
