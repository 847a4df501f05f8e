#include "base/fork_guard.hpp"

#include <fcntl.h>
#include <pthread.h>

#include <mutex>

namespace quoit::inline v1::detail {

std::uint32_t fork_epoch = 0;

namespace {

constinit std::mutex pause_mutex;  // taken before those of fd

void prepare() {
  pause_mutex.lock();
  fd::at_fork::prepare();
}

void in_parent() {
  fd::at_fork::in_parent();
  pause_mutex.unlock();
}

void in_child() {
  fd::at_fork::in_child();
  ++fork_epoch;
  pause_mutex.unlock();
}

bool set_handlers() {
  ::pthread_atfork(prepare, in_parent, in_child);
  return true;
}

}  // namespace

void notice_forks() { [[maybe_unused]] static const bool set = set_handlers(); }

namespace {

// When the library is loaded: a child of a fork in the middle of the first call would wait for that call for ever.
[[maybe_unused]] const bool set_when_loaded = [] {
  notice_forks();
  return true;
}();

}  // namespace

guarded_fd::fork_pause::fork_pause() { pause_mutex.lock(); }
guarded_fd::fork_pause::~fork_pause() { pause_mutex.unlock(); }

void guarded_fd::reset() noexcept {
  if (!value_) return;
  const fork_pause pause;
  struct flock everything{};
  everything.l_type = F_UNLCK;
  everything.l_whence = SEEK_SET;
  ::fcntl(value_.get(), F_OFD_SETLK, &everything);
  value_.reset();
}

}  // namespace quoit::inline v1::detail
