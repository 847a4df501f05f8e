// A byte through a pipe and one back: each side writes one, sleeps until the other pipe is readable, in an io_uring or
// in epoll, and reads it. Nothing else.
#pragma once

#include <fcntl.h>
#include <sys/epoll.h>

#include <poll.h>

#include "pair.hpp"
#include "ring.hpp"

namespace floors {

struct pipe_memory {
  int there[2];  // made before the fork
  int back[2];
  bool open() { return ::pipe2(there, O_CLOEXEC | O_NONBLOCK) == 0 && ::pipe2(back, O_CLOEXEC | O_NONBLOCK) == 0; }
};

// Each sleeps until the pipe is readable.
class pipe_in_ring {
 public:
  explicit pipe_in_ring(int pipe) : pipe_(pipe) {}
  void sleep() {
    ::io_uring_prep_poll_add(in_.entry(), pipe_, POLLIN);
    const int result = in_.sleep(calls_);
    if (result < 0) end_floor("IORING_OP_POLL_ADD", -result);
  }
  std::uint64_t calls() const { return calls_; }

 private:
  ring in_;
  int pipe_;
  std::uint64_t calls_ = 0;
};

class pipe_in_epoll {
 public:
  explicit pipe_in_epoll(int pipe) : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event what{};
    what.events = EPOLLIN;
    if (epoll_ < 0 || ::epoll_ctl(epoll_, EPOLL_CTL_ADD, pipe, &what) < 0) end_floor("epoll", errno);
  }
  ~pipe_in_epoll() { ::close(epoll_); }
  pipe_in_epoll(const pipe_in_epoll&) = delete;
  pipe_in_epoll& operator=(const pipe_in_epoll&) = delete;

  void sleep() {
    epoll_event got{};
    if (::epoll_wait(epoll_, &got, 1, -1) < 0 && errno != EINTR) end_floor("epoll_wait", errno);
  }
  std::uint64_t calls() const { return 0; }

 private:
  int epoll_;
};

inline void pipe_give(int pipe) {
  const char byte = 1;
  if (::write(pipe, &byte, 1) != 1) end_floor("write", errno);
}

template <class Sleeper>
void pipe_take(Sleeper& sleeper, int pipe) {
  char byte = 0;
  for (;;) {
    sleeper.sleep();
    if (::read(pipe, &byte, 1) == 1) return;
    if (errno != EAGAIN) end_floor("read", errno);
  }
}

// Each returns how often it called io_uring_enter.
template <class Sleeper>
std::uint64_t pipe_ask(const pipe_memory& m, std::uint64_t turns, histogram& h) {
  Sleeper sleeper(m.back[0]);
  for (std::uint64_t i = 0; i < turns; ++i) {
    const std::uint64_t begin = ticks();
    pipe_give(m.there[1]);
    pipe_take(sleeper, m.back[0]);
    h.record(ticks() - begin);
  }
  return sleeper.calls();
}

template <class Sleeper>
std::uint64_t pipe_answer(const pipe_memory& m, std::uint64_t turns) {
  Sleeper sleeper(m.there[0]);
  for (std::uint64_t i = 0; i < turns; ++i) {
    pipe_take(sleeper, m.there[0]);
    pipe_give(m.back[1]);
  }
  return sleeper.calls();
}

}  // namespace floors
