#include "base/fork_guard.hpp"

#include <fcntl.h>
#include <pthread.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace quoit::inline v1::detail {

std::uint32_t fork_epoch = 0;

namespace {

struct registry {
  std::mutex mutex;
  std::vector<int> descriptors;
};

// Never destroyed: a handle of a static object may be closed after every destructor of ours ran.
registry& all() {
  static registry* const instance = [] {
    auto made = std::make_unique<registry>();
    made->descriptors.reserve(64);
    ::pthread_atfork([] { all().mutex.lock(); }, [] { all().mutex.unlock(); },
                     [] {
                       for (const int descriptor : all().descriptors) ::close(descriptor);
                       all().descriptors.clear();
                       ++fork_epoch;
                       all().mutex.unlock();
                     });
    return made.release();
  }();
  return *instance;
}

}  // namespace

void notice_forks() { all(); }

guarded_fd::fork_pause::fork_pause() { all().mutex.lock(); }
guarded_fd::fork_pause::~fork_pause() { all().mutex.unlock(); }

guarded_fd::guarded_fd(fd value) : epoch_(fork_epoch) {
  if (!value) return;
  all().descriptors.push_back(value.get());
  value_ = value.release();
}

guarded_fd::guarded_fd(guarded_fd&& other) noexcept : value_(std::exchange(other.value_, -1)), epoch_(other.epoch_) {}

guarded_fd& guarded_fd::operator=(guarded_fd&& other) noexcept {
  if (this != &other) {
    reset();
    value_ = std::exchange(other.value_, -1);
    epoch_ = other.epoch_;
  }
  return *this;
}

void guarded_fd::reset() noexcept {
  if (value_ < 0) return;
  const int descriptor = std::exchange(value_, -1);
  // In a child it is closed already, and the number may be somebody else's.
  if (epoch_ != fork_epoch) return;
  registry& r = all();
  const std::lock_guard hold(r.mutex);
  if (const auto it = std::find(r.descriptors.begin(), r.descriptors.end(), descriptor); it != r.descriptors.end()) {
    *it = r.descriptors.back();
    r.descriptors.pop_back();
  }
  struct flock everything{};
  everything.l_type = F_UNLCK;
  everything.l_whence = SEEK_SET;
  ::fcntl(descriptor, F_OFD_SETLK, &everything);
  ::close(descriptor);
}

}  // namespace quoit::inline v1::detail
