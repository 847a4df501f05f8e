#include "base/file_size_limit.hpp"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

namespace quoit::inline v1::detail {

namespace {

sigset_t the_signal() noexcept {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGXFSZ);
  return set;
}

}  // namespace

file_size_signal_block::file_size_signal_block() noexcept {
  const sigset_t blocked = the_signal();
  ::pthread_sigmask(SIG_BLOCK, &blocked, &before_);
  sigset_t pending;
  was_pending_ = ::sigpending(&pending) == 0 && ::sigismember(&pending, SIGXFSZ) == 1;
}

file_size_signal_block::~file_size_signal_block() {
  const int kept = errno;
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  errno = kept;
}

void file_size_signal_block::take_signal() const noexcept {
  if (was_pending_) return;
  const int kept = errno;
  const sigset_t wanted = the_signal();
  const timespec at_once{};
  // The kernel gives out what was sent to this thread before what was sent to the process.
  while (::sigtimedwait(&wanted, nullptr, &at_once) < 0 && errno == EINTR) {
  }
  errno = kept;
}

int write_whole(int fd, const void* from, std::size_t bytes) noexcept {
  const auto* const begin = static_cast<const char*>(from);
  for (std::size_t done = 0; done < bytes;) {
    // What still fits is written without an error: the call for the rest has it.
    const ssize_t written =
        within_file_size_limit([&] { return ::pwrite(fd, begin + done, bytes - done, static_cast<off_t>(done)); });
    if (written > 0) done += static_cast<std::size_t>(written);
    if (written == 0) return ENOSPC;
    if (written < 0 && errno != EINTR) return errno;
  }
  return 0;
}

error file_size_limit_reached(const std::string& doing, std::uint64_t bytes) {
  rlimit limit{};
  const bool own = ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur;
  const std::string words = doing + ": a file of " + std::to_string(bytes) + " bytes is larger than ";
  if (!own) return error(errc::limit_reached, words + "its file system allows", 0, EFBIG);
  return error(
      errc::limit_reached,
      words + "RLIMIT_FSIZE (ulimit -f) allows this process, " + std::to_string(limit.rlim_cur) + " bytes: raise it",
      limit.rlim_cur, EFBIG);
}

}  // namespace quoit::inline v1::detail
