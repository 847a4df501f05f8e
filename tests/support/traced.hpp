#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include <sys/ptrace.h>

#include "support/child.hpp"

namespace quoit::test {

enum class ended { killed, over, no_tracing };

// Runs `life` in a child and kills it at its `stop`-th stop, counted from 0: at the entry and at the exit of each
// system call, or after each `instructions` instructions. `over`: it was through before that.
inline ended run_until(const std::function<int()>& life, int stop, int instructions = 0) {
  child traced([&] {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return 77;
    ::raise(SIGSTOP);
    return life();
  });
  int status = 0;
  if (::waitpid(traced.pid(), &status, 0) != traced.pid() || !WIFSTOPPED(status)) return ended::no_tracing;
  for (int at = 0; at <= stop; ++at) {
    for (int step = 0; step < std::max(instructions, 1); ++step) {
      if (::ptrace(instructions == 0 ? PTRACE_SYSCALL : PTRACE_SINGLESTEP, traced.pid(), nullptr, nullptr) != 0 ||
          ::waitpid(traced.pid(), &status, 0) != traced.pid()) {
        return ended::no_tracing;
      }
      if (WIFEXITED(status)) {
        CHECK(WEXITSTATUS(status) == 0);
        return ended::over;
      }
      REQUIRE(WIFSTOPPED(status));
    }
  }
  traced.kill();
  CHECK(traced.wait().signal == SIGKILL);
  return ended::killed;
}

}  // namespace quoit::test
