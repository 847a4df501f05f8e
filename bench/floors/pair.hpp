// Two processes that measure together, of which one asks and one answers. If one dies the other ends at once: a loop
// that spins on what nobody will store any more must not go on for ever.
#pragma once

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "clock.hpp"
#include "cpus.hpp"
#include "histogram.hpp"

namespace floors {

// Zeroed memory that a child shares; null if there is none.
template <class T>
T* shared() {
  void* const p = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<T*>(p);
}

// Forks. The child runs `body` and exits with what it returns; it is killed when this process dies.
template <class Body>
pid_t fork_with_us(Body body) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::signal(SIGCHLD, SIG_DFL);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // It may have died before that.
  if (::getppid() != parent) ::_exit(1);
  ::_exit(body());
}

inline void end_without_peer(int) {
  static constexpr char words[] = "the answering process died\n";
  if (::write(STDERR_FILENO, words, sizeof words - 1) < 0) ::_exit(2);
  ::_exit(1);
}

// From now on, and until the peer is told to stop, this process ends when a child of it does.
inline void end_with_child(void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_NOCLDSTOP;
  ::sigaction(SIGCHLD, &action, nullptr);
}

// Turns about: the asking side calls next() and then both run a number of turns, until it calls stop().
struct rounds {
  alignas(128) std::uint64_t given;
  static constexpr std::uint64_t over = ~std::uint64_t{0};

  void next(std::uint64_t round) { __atomic_store_n(&given, round, __ATOMIC_RELEASE); }
  void stop() { next(over); }
  // False when there are no more.
  bool wait(std::uint64_t round) {
    std::uint64_t seen;
    // On one CPU, the side that gives has to run.
    while ((seen = __atomic_load_n(&given, __ATOMIC_ACQUIRE)) < round) ::sched_yield();
    return seen != over;
  }
};

}  // namespace floors
