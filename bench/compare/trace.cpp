#include "trace.hpp"

#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace bench::trace {

namespace {

// A call that the kernel refuses, and that nobody else makes: a tracer sees its arguments.
constexpr int mark_begin = 0x71756f01;
constexpr int mark_end = 0x71756f02;

pid_t process_of(pid_t thread) {
  std::ifstream file("/proc/" + std::to_string(thread) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("Tgid:")) return static_cast<pid_t>(std::atoi(line.c_str() + 5));
  }
  return thread;
}

}  // namespace

void begin(std::uint32_t slot) { ::prctl(mark_begin, static_cast<unsigned long>(slot), 0, 0, 0); }
void end() { ::prctl(mark_end, 0, 0, 0, 0); }

std::uint64_t tally::calls_total() const {
  std::uint64_t sum = 0;
  for (const auto& [number, times] : calls) sum += times;
  return sum;
}

std::string name_of_call(std::uint64_t number) {
  switch (number) {
    case SYS_read: return "read";
    case SYS_write: return "write";
    case SYS_pread64: return "pread64";
    case SYS_pwrite64: return "pwrite64";
    case SYS_sendto: return "sendto";
    case SYS_recvfrom: return "recvfrom";
    case SYS_sendmsg: return "sendmsg";
    case SYS_recvmsg: return "recvmsg";
    case SYS_futex: return "futex";
    case SYS_epoll_ctl: return "epoll_ctl";
    case SYS_epoll_pwait: return "epoll_pwait";
#ifdef SYS_epoll_wait
    case SYS_epoll_wait: return "epoll_wait";
#endif
#ifdef SYS_poll
    case SYS_poll: return "poll";
#endif
    case SYS_ppoll: return "ppoll";
    case SYS_fcntl: return "fcntl";
    case SYS_sched_yield: return "sched_yield";
    case SYS_clock_nanosleep: return "clock_nanosleep";
    case SYS_membarrier: return "membarrier";
    default: return "call " + std::to_string(number);
  }
}

direction direction_of(std::uint64_t number) {
  switch (number) {
    case SYS_write:
    case SYS_pwrite64:
    case SYS_sendto:
    case SYS_sendmsg: return direction::in;
    case SYS_read:
    case SYS_pread64:
    case SYS_recvfrom:
    case SYS_recvmsg: return direction::out;
    default: return direction::none;
  }
}

std::uint64_t copied_by(std::uint64_t number, std::uint64_t length, std::int64_t result) {
  if (result <= 0 || direction_of(number) == direction::none) return 0;
  const auto said = static_cast<std::uint64_t>(result);
  // recv with MSG_TRUNC says how long a packet is, also where it copies less of it, or nothing.
  const bool has_length = number != SYS_sendmsg && number != SYS_recvmsg;
  return has_length ? std::min(said, length) : said;
}

int tracer::wait(pid_t process) {
  const bool traces = attach(process);
  std::atomic_ref(told_).store(traces ? attached::yes : attached::refused, std::memory_order_release);
  int status_of_process = 0;
  for (;;) {
    int status = 0;
    const pid_t id = ::waitpid(-1, &status, __WALL);
    if (id < 0 && errno == EINTR) continue;
    if (id < 0) return status_of_process;  // nobody is left
    if (WIFSTOPPED(status)) {
      stopped(id, status);
    } else {
      if (id == process) status_of_process = status;
      threads_.erase(id);
    }
  }
}

bool tracer::attach(pid_t process) {
  const long options =
      PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  if (::ptrace(PTRACE_SEIZE, process, nullptr, options) == 0 &&
      ::ptrace(PTRACE_INTERRUPT, process, nullptr, nullptr) == 0) {
    return true;
  }
  problem_ = std::string("ptrace: ") + std::strerror(errno);
  return false;
}

void tracer::stopped(pid_t id, int status) {
  const int signal = WSTOPSIG(status);
  const int event = status >> 16;
  long deliver = 0;
  if (signal == (SIGTRAP | 0x80)) {
    at_call(id);
  } else if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
    // Stopped by a signal such as SIGSTOP, and to stay so until it is continued.
    ::ptrace(PTRACE_LISTEN, id, nullptr, nullptr);
    return;
  } else if (event == 0) {
    deliver = signal;
  }
  ::ptrace(PTRACE_SYSCALL, id, nullptr, deliver);
}

void tracer::at_call(pid_t id) {
  __ptrace_syscall_info info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, id, sizeof info, &info) <= 0) {
    if (problem_.empty()) problem_ = std::string("ptrace: PTRACE_GET_SYSCALL_INFO: ") + std::strerror(errno);
    return;
  }
  thread& t = threads_[id];
  if (t.process == 0) t.process = process_of(id);
  counting& c = processes_[t.process];
  if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
    t.inside = false;
    if (info.entry.nr == SYS_prctl && info.entry.args[0] == mark_begin) {
      c = {info.entry.args[1] < tallies_.size(), static_cast<std::uint32_t>(info.entry.args[1])};
    } else if (info.entry.nr == SYS_prctl && info.entry.args[0] == mark_end) {
      c.now = false;
    } else if (c.now) {
      t.inside = true;
      t.number = info.entry.nr;
      t.length = info.entry.args[2];
      t.slot = c.slot;
      ++tallies_[c.slot].calls[info.entry.nr];
    }
  } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && t.inside) {
    t.inside = false;
    const std::uint64_t bytes = copied_by(t.number, t.length, info.exit.rval);
    tally& to = tallies_[t.slot];
    (direction_of(t.number) == direction::in ? to.bytes_in : to.bytes_out) += bytes;
  }
}

void wait_for_tracer(attached& told) {
  while (std::atomic_ref(told).load(std::memory_order_acquire) == attached::not_yet) ::usleep(100);
}

}  // namespace bench::trace
