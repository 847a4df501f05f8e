// File descriptors: their owner, and the calls that make them. The library makes descriptors in no other way
// (tests/tidy/descriptors_test.py).
//
// In a forked child every fd is empty, unless it was told to stay: the child handler of fork() closes them. So a child
// keeps no socket, lock or ring of its parent's open that it does not know of.
//
// The number of a descriptor that is kept is 3 or higher. In a process that runs with 0, 1 or 2 closed, as a daemon
// may, the kernel hands out those numbers first, and what the program prints would go into a file of the bus.
#pragma once

#include <dirent.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

namespace quoit::inline v1::detail {

// Owns a file descriptor. Thread safety: distinct objects, any thread.
class fd {
 public:
  fd() = default;
  // Takes a new descriptor; a negative number is none. One below 3 is duplicated to a higher number with FD_CLOEXEC and
  // closed. If that fails, this is empty and errno says why.
  explicit fd(int value) noexcept;
  fd(fd&& other) noexcept { take(other); }
  fd& operator=(fd&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~fd() { reset(); }

  int get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ >= 0; }
  int release() noexcept;
  void reset() noexcept {
    if (value_ >= 0) ::close(release());
  }
  // From now on a forked child has it open too.
  void stay_open_in_children() noexcept;

  // What fork() does with all of them; called by the handlers of fork_guard.cpp.
  struct at_fork {
    static void prepare() noexcept;
    static void in_parent() noexcept;
    static void in_child() noexcept;
  };

 private:
  void take(fd& other) noexcept;
  void link() noexcept;
  void unlink() noexcept;

  int value_ = -1;
  fd** link_ = nullptr;  // what points to this in the list of those that a child closes; null: it is in none
  fd* next_ = nullptr;
};

// While one exists, the kernel hands out no number below 3: those that are free are taken by descriptors that cannot be
// read or written (O_PATH). So a new descriptor does not have such a number even until it is raised, in which time
// another thread might print. Does nothing in a process in which 0, 1 and 2 were open when the library was loaded and
// no call has handed out one of them since. Thread safety: any thread.
class low_numbers_taken {
 public:
  low_numbers_taken() noexcept;
  ~low_numbers_taken();
  low_numbers_taken(const low_numbers_taken&) = delete;
  low_numbers_taken& operator=(const low_numbers_taken&) = delete;

 private:
  bool taken_;
};

// Each of these sets FD_CLOEXEC. Empty: errno says why.

// As open(2), openat(2), shm_open(3), memfd_create(2), opendir(3).
fd open_file(const char* path, int flags, mode_t permissions = 0) noexcept;
fd open_file_at(int directory, const char* path, int flags, mode_t permissions = 0) noexcept;
inline fd open_file(const std::string& path, int flags, mode_t permissions = 0) noexcept {
  return open_file(path.c_str(), flags, permissions);
}
fd open_shared_memory(const std::string& name, int flags, mode_t permissions = 0) noexcept;
fd create_memfd(const char* name, unsigned flags) noexcept;
using directory_stream = std::unique_ptr<DIR, int (*)(DIR*)>;
directory_stream open_directory(const char* path) noexcept;
inline directory_stream open_directory(const std::string& path) noexcept { return open_directory(path.c_str()); }

// A second descriptor of the same open file.
fd duplicate(int descriptor) noexcept;

fd make_epoll() noexcept;
fd make_eventfd(int flags) noexcept;
// Of CLOCK_MONOTONIC; it does not block.
fd make_timerfd() noexcept;
// It does not block.
fd make_signalfd(const sigset_t& signals) noexcept;
struct pipe_ends {
  fd read;
  fd write;
};
pipe_ends make_pipe_ends(int flags) noexcept;

// Of AF_UNIX.
fd make_socket(int type) noexcept;
// As accept4(2).
fd accept_connection(int listener, int flags) noexcept;

}  // namespace quoit::inline v1::detail
