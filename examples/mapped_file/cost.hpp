// What a job costs this process: time, page faults, and, in a run of its own, system calls.
#pragma once

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>

struct cost {
  double milliseconds = 0;
  double cpu_milliseconds = 0;  // of them, those in which it ran, in the program or in the kernel
  long minor_faults = 0;        // a page of the process that had to be connected to memory that was there
  long major_faults = 0;        // one that had to be read from the disk first
};

inline double milliseconds_of(const timeval& t) {
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
}

template <class Job>
cost cost_of(Job job) {
  rusage before{}, after{};
  ::getrusage(RUSAGE_SELF, &before);
  const auto begin = std::chrono::steady_clock::now();
  job();
  const auto end = std::chrono::steady_clock::now();
  ::getrusage(RUSAGE_SELF, &after);
  return {.milliseconds = std::chrono::duration<double, std::milli>(end - begin).count(),
          .cpu_milliseconds = milliseconds_of(after.ru_utime) + milliseconds_of(after.ru_stime) -
                              milliseconds_of(before.ru_utime) - milliseconds_of(before.ru_stime),
          .minor_faults = after.ru_minflt - before.ru_minflt,
          .major_faults = after.ru_majflt - before.ru_majflt};
}

// Runs the job in a child that stops before and after each system call; -1 where that is forbidden.
template <class Job>
long stops_of(Job job) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
    ::raise(SIGSTOP);
    try {
      job();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  long stops = 0;
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return -1;
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  while (::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr) == 0 && ::waitpid(child, &status, 0) == child &&
         WIFSTOPPED(status)) {
    if (WSTOPSIG(status) == (SIGTRAP | 0x80)) ++stops;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? stops : -1;
}

// System calls that a job makes: those of a child that does it, less those of one that does nothing.
template <class Job>
long system_calls_of(Job job) {
  const long all = stops_of(job);
  const long none = stops_of([] {});
  return all < 0 || none < 0 ? -1 : (all - none) / 2;
}
