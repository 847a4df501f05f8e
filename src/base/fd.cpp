#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <atomic>
#include <cerrno>
#include <mutex>

namespace quoit::inline v1::detail {

namespace {

constexpr int lowest_number = STDERR_FILENO + 1;

bool is_open(int number) noexcept { return ::fcntl(number, F_GETFD) >= 0; }

bool standard_numbers_are_open() noexcept {
  const int before = errno;
  bool all = true;
  for (int number = 0; number < lowest_number; ++number) all = all && is_open(number);
  errno = before;
  return all;
}

// Set once, and for good: a program that has closed one of 0, 1 and 2 may do so again.
constinit std::atomic<bool> low_numbers_are_handed_out{false};
[[maybe_unused]] const bool looked_when_loaded = [] {
  // relaxed: it says what to do, and nothing of other memory
  if (!standard_numbers_are_open()) low_numbers_are_handed_out.store(true, std::memory_order_relaxed);
  return true;
}();

// The numbers that are taken now, and by how many.
constinit std::mutex low_numbers_mutex;
unsigned users = 0;
bool placed[lowest_number] = {};

void place_all() noexcept {
  for (;;) {
    const int number = ::open("/dev/null", O_PATH | O_CLOEXEC);
    if (number < 0) return;
    if (number >= lowest_number) {
      ::close(number);
      return;
    }
    placed[number] = true;
  }
}

void remove_all() noexcept {
  for (int number = 0; number < lowest_number; ++number) {
    if (std::exchange(placed[number], false)) ::close(number);
  }
}

// Those that a forked child closes.
constinit std::mutex list_mutex;
fd* first = nullptr;

int duplicated(int descriptor) noexcept {
  const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, lowest_number);
  // EINVAL: RLIMIT_NOFILE allows no number as high.
  if (copy < 0 && errno == EINVAL) errno = EMFILE;
  return copy;
}

// `value`, if it is none of 0, 1 and 2.
int raised(int value) noexcept {
  if (value < 0 || value >= lowest_number) return value;
  low_numbers_are_handed_out.store(true, std::memory_order_relaxed);  // relaxed: as above
  const int high = duplicated(value);
  const int why = errno;
  ::close(value);
  errno = why;
  return high;
}

// `call` makes a descriptor.
template <class Call>
fd made_by(Call call) noexcept {
  const low_numbers_taken guard;
  return fd(call());
}

}  // namespace

low_numbers_taken::low_numbers_taken() noexcept
    // relaxed: as where it is set
    : taken_(low_numbers_are_handed_out.load(std::memory_order_relaxed)) {
  if (!taken_) return;
  const std::lock_guard hold(low_numbers_mutex);
  if (users++ == 0) place_all();
}

low_numbers_taken::~low_numbers_taken() {
  if (!taken_) return;
  const int before = errno;
  const std::lock_guard hold(low_numbers_mutex);
  if (--users == 0) remove_all();
  errno = before;
}

fd::fd(int value) noexcept : value_(value > STDERR_FILENO ? value : raised(value)) {
  if (value_ < 0) return;
  const std::lock_guard hold(list_mutex);
  link();
}

// Under the mutex, looking at `link_` too: the thread that unlinks the neighbour of a descriptor writes it.
int fd::release() noexcept {
  if (value_ < 0) return -1;
  const std::lock_guard hold(list_mutex);
  if (link_ != nullptr) unlink();
  return std::exchange(value_, -1);
}

void fd::stay_open_in_children() noexcept {
  if (value_ < 0) return;
  const std::lock_guard hold(list_mutex);
  if (link_ != nullptr) unlink();
}

void fd::take(fd& other) noexcept {
  if (other.value_ < 0) return;
  const std::lock_guard hold(list_mutex);
  if (other.link_ != nullptr) {
    other.unlink();
    link();
  }
  value_ = std::exchange(other.value_, -1);
}

void fd::link() noexcept {
  next_ = first;
  link_ = &first;
  if (next_ != nullptr) next_->link_ = &next_;
  first = this;
}

void fd::unlink() noexcept {
  *link_ = next_;
  if (next_ != nullptr) next_->link_ = link_;
  link_ = nullptr;
}

void fd::at_fork::prepare() noexcept {
  low_numbers_mutex.lock();
  list_mutex.lock();
}

void fd::at_fork::in_parent() noexcept {
  list_mutex.unlock();
  low_numbers_mutex.unlock();
}

void fd::at_fork::in_child() noexcept {
  while (first != nullptr) {
    fd& one = *first;
    one.unlink();
    ::close(std::exchange(one.value_, -1));
  }
  // Of threads that the child does not have.
  users = 0;
  remove_all();
  in_parent();
}

fd open_file(const char* path, int flags, mode_t permissions) noexcept {
  return made_by([&] { return ::open(path, flags | O_CLOEXEC, permissions); });
}

fd open_file_at(int directory, const char* path, int flags, mode_t permissions) noexcept {
  return made_by([&] { return ::openat(directory, path, flags | O_CLOEXEC, permissions); });
}

fd open_shared_memory(const std::string& name, int flags, mode_t permissions) noexcept {
  return made_by([&] { return ::shm_open(name.c_str(), flags | O_CLOEXEC, permissions); });
}

fd create_memfd(const char* name, unsigned flags) noexcept {
  return made_by([&] { return ::memfd_create(name, flags | MFD_CLOEXEC); });
}

directory_stream open_directory(const char* path) noexcept {
  fd descriptor = open_file(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
  DIR* const stream = descriptor ? ::fdopendir(descriptor.get()) : nullptr;
  if (stream != nullptr) static_cast<void>(descriptor.release());
  return {stream, ::closedir};
}

fd duplicate(int descriptor) noexcept { return fd(duplicated(descriptor)); }

fd make_epoll() noexcept {
  return made_by([] { return ::epoll_create1(EPOLL_CLOEXEC); });
}

fd make_eventfd(int flags) noexcept {
  return made_by([&] { return ::eventfd(0, flags | EFD_CLOEXEC); });
}

fd make_timerfd() noexcept {
  return made_by([] { return ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK); });
}

fd make_signalfd(const sigset_t& signals) noexcept {
  return made_by([&] { return ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK); });
}

pipe_ends make_pipe_ends(int flags) noexcept {
  const low_numbers_taken guard;
  int ends[2];
  if (::pipe2(ends, flags | O_CLOEXEC) != 0) return {};
  fd read(ends[0]);
  const int why_not_read = errno;
  fd write(ends[1]);
  if (read && write) return {std::move(read), std::move(write)};
  if (!read) errno = why_not_read;
  return {};
}

fd make_socket(int type) noexcept {
  return made_by([&] { return ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0); });
}

fd accept_connection(int listener, int flags) noexcept {
  return made_by([&] { return ::accept4(listener, nullptr, nullptr, flags | SOCK_CLOEXEC); });
}

}  // namespace quoit::inline v1::detail
