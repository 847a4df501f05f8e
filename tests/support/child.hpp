#pragma once

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace quoit::test {

// How a process ended: one of the two is set.
struct ending {
  int status = -1;  // what it exited with
  int signal = 0;   // what killed it
};

// A forked process that runs a function and exits with what it returns. It dies with its parent, and with this object.
// Checks of doctest do not count in there: return a status instead.
class child {
 public:
  template <class F>
  explicit child(F&& f) {
    // Or both processes would print what is buffered.
    std::fflush(nullptr);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // 0: the parent is in another pid namespace.
    if (const pid_t now = ::getppid(); now != parent && now != 0) ::_exit(126);
    int status = 125;
    try {
      status = std::forward<F>(f)();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "child: exception: %s\n", e.what());
    }
    std::fflush(nullptr);
    ::_exit(status);
  }
  child(const child&) = delete;
  child& operator=(const child&) = delete;
  ~child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }

  pid_t pid() const { return pid_; }
  void kill(int signal = SIGKILL) const { ::kill(pid_, signal); }

  // Returns once it has ended.
  ending wait() {
    int raw = 0;
    while (::waitpid(pid_, &raw, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    if (WIFSIGNALED(raw)) return {.status = -1, .signal = WTERMSIG(raw)};
    return {.status = WEXITSTATUS(raw), .signal = 0};
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace quoit::test
