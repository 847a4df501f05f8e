// What process_counters() says, beside what the kernel saw: a tracer counts each system call of the process.
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <map>
#include <thread>

#include "contract/ways.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;

namespace {

// A call that nothing else makes, and that does nothing.
constexpr long marker_call = SYS_prctl;
constexpr unsigned long marker = 0x71756f74;
void mark() { ::syscall(marker_call, marker, 0, 0, 0, 0); }

// What the C library does by itself, and what the test does.
bool is_of_others(const __ptrace_syscall_info& call) {
  switch (call.entry.nr) {
    case SYS_futex: return (call.entry.args[1] & FUTEX_PRIVATE_FLAG) != 0;
    case SYS_mmap:
    case SYS_munmap:
    case SYS_mremap:
    case SYS_mprotect:
    case SYS_madvise:
    case SYS_brk:
    case SYS_clock_gettime:
    case SYS_clock_nanosleep:
    case SYS_sched_yield:
    case SYS_restart_syscall: return true;
    default: return false;
  }
}

struct traced {
  bool possible = true;
  int status = -1;
  std::uint64_t calls = 0;  // between the two marks, of all threads
  std::map<unsigned long, unsigned> by_number;
};

// Runs `what` in a process of its own, stopped at each system call of each of its threads.
template <class F>
traced trace(F&& what) {
  std::fflush(nullptr);
  traced out;
  const pid_t first = ::fork();
  if (first == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(77);
    std::raise(SIGSTOP);
    ::_exit(what());
  }
  int raw = 0;
  ::waitpid(first, &raw, 0);
  if (!WIFSTOPPED(raw) || ::ptrace(PTRACE_SETOPTIONS, first, nullptr,
                                   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL) != 0) {
    ::kill(first, SIGKILL);
    ::waitpid(first, &raw, 0);
    out.possible = false;
    return out;
  }
  ::ptrace(PTRACE_SYSCALL, first, nullptr, nullptr);
  int marks = 0;
  for (;;) {
    const pid_t who = ::waitpid(-1, &raw, __WALL);
    if (who < 0) return out;
    if (WIFEXITED(raw) || WIFSIGNALED(raw)) {
      if (who != first) continue;
      out.status = WIFEXITED(raw) ? WEXITSTATUS(raw) : -1;
      return out;
    }
    int signal = 0;
    if (WSTOPSIG(raw) == (SIGTRAP | 0x80)) {
      __ptrace_syscall_info call{};
      if (::ptrace(PTRACE_GET_SYSCALL_INFO, who, sizeof call, &call) <= 0) {
        ::kill(first, SIGKILL);
        out.possible = false;
      } else if (call.op == PTRACE_SYSCALL_INFO_ENTRY) {
        if (call.entry.nr == static_cast<std::uint64_t>(marker_call) && call.entry.args[0] == marker) {
          ++marks;
        } else if (marks == 1 && !is_of_others(call)) {
          ++out.calls;
          ++out.by_number[call.entry.nr];
        }
      }
    } else if (WSTOPSIG(raw) != SIGTRAP && WSTOPSIG(raw) != SIGSTOP) {
      signal = WSTOPSIG(raw);
    }
    ::ptrace(PTRACE_SYSCALL, who, nullptr, signal);
  }
}

// Threads that come to rest make no calls.
void settle() { std::this_thread::sleep_for(100ms); }

// Messages to a subscriber that polls, and to one that sleeps in another thread; then until nothing more is taken.
int exchange(const meeting& here, int report) {
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
  auto sub = bus.subscriber<checked>("t").value();
  std::atomic<int> stage{0};
  std::thread sleeper([&] {
    auto own = here.open();
    auto its = own.subscriber<checked>("t").value();
    stage = 1;
    for (int n = 0; n < 5;) n += its.wait(10s).has_value();
    stage = 2;
    while (stage != 3) std::this_thread::sleep_for(1ms);
  });
  while (stage != 1) std::this_thread::sleep_for(1ms);
  bool right = pub.subscribers() == 2;
  settle();

  const auto before = quoit::process_counters();
  mark();
  for (std::uint64_t n = 0; n < 5; ++n) {
    right = right && pub.publish(checked::make(1, n));
    const auto got = sub.wait(10s);
    right = right && got && (*got)->number == n;
    std::this_thread::sleep_for(5ms);
  }
  while (stage != 2) std::this_thread::sleep_for(1ms);
  for (std::uint64_t n = 5; pub.publish_for(checked::make(1, n), 30ms);) ++n;
  for (auto got = sub.wait(5ms); got; got = sub.wait(5ms)) right = right && (*got)->intact();
  settle();
  mark();
  const quoit::counters said = quoit::process_counters() - before;
  right = right && ::write(report, &said, sizeof said) == sizeof said;
  stage = 3;
  sleeper.join();
  return right ? 0 : 1;
}

// Bytes to and fro between two tasks, and a message now and then, on this engine.
int echo(const meeting& here, quoit::io_engine engine, int report) {
  auto made = quoit::executor::create({.wait = quoit::wait::block, .engine = engine});
  if (!made) return 77;
  auto bus = here.open(*made);
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 2;
  auto answers = [](int fd, int rounds) -> quoit::task<> {
    std::byte byte{};
    for (int n = 0; n < rounds; ++n) {
      static_cast<void>(co_await quoit::recv(fd, std::span(&byte, 1)));
      static_cast<void>(co_await quoit::send(fd, std::span(&byte, 1)));
    }
  };
  auto asks = [](int fd, int rounds, auto& to, auto& from) -> quoit::task<> {
    std::byte byte{};
    for (int n = 0; n < rounds; ++n) {
      static_cast<void>(co_await quoit::send(fd, std::span(&byte, 1)));
      static_cast<void>(co_await quoit::recv(fd, std::span(&byte, 1)));
      static_cast<void>(to.publish(checked::make(1, 0)));
      static_cast<void>(co_await from.next());
      static_cast<void>(co_await quoit::sleep_for(1ms));
    }
  };
  // Once before it is counted: the first sleep makes what later ones have.
  quoit::counters said;
  for (const bool counted : {false, true}) {
    const auto before = quoit::process_counters();
    if (counted) mark();
    made->spawn(answers(ends[1], 20));
    made->run(asks(ends[0], 20, pub, sub));
    if (counted) mark();
    said = quoit::process_counters() - before;
  }
  return ::write(report, &said, sizeof said) == sizeof said ? 0 : 1;
}

}  // namespace

TEST_CASE("the system calls of an executor are those that the kernel sees, on either engine") {
  auto engine = quoit::io_engine::unspecified;
  SUBCASE("io_uring") { engine = quoit::io_engine::io_uring; }
  SUBCASE("epoll") { engine = quoit::io_engine::epoll; }
  const meeting here(quoit::transport::shared_memory);
  int report[2];
  REQUIRE(::pipe(report) == 0);
  const traced seen = trace([&] { return echo(here, engine, report[1]); });
  ::close(report[1]);
  quoit::counters said;
  const bool whole = ::read(report[0], &said, sizeof said) == sizeof said;
  ::close(report[0]);
  if (!seen.possible) QUOIT_SKIP("system calls of a child cannot be traced here");
  if (seen.status == 77) QUOIT_SKIP("there is no io_uring here");
  REQUIRE(seen.status == 0);
  REQUIRE(whole);
  std::string by_number;
  for (const auto& [number, count] : seen.by_number)
    by_number += std::to_string(number) + ": " + std::to_string(count) + " ";
  CHECK_MESSAGE(said.system_calls() == seen.calls, by_number);
  CHECK(said.enters > 40);
}

TEST_CASE("the system calls that a process counts are those that the kernel sees") {
  const auto way = this_way();
  const meeting here(way);
  int report[2];
  REQUIRE(::pipe(report) == 0);
  const traced seen = trace([&] { return exchange(here, report[1]); });
  ::close(report[1]);
  quoit::counters said;
  const bool whole = ::read(report[0], &said, sizeof said) == sizeof said;
  ::close(report[0]);
  if (!seen.possible) QUOIT_SKIP("system calls of a child cannot be traced here");
  REQUIRE(seen.status == 0);
  REQUIRE(whole);
  CHECK(seen.calls > 0);
  std::string by_number;
  for (const auto& [number, count] : seen.by_number)
    by_number += std::to_string(number) + ": " + std::to_string(count) + " ";
  // A thread whose recheck comes right at a mark is in the middle of a call: one for each thread that there is.
  constexpr std::uint64_t threads = 3;
  const bool agree = said.system_calls() <= seen.calls + threads && seen.calls <= said.system_calls() + threads;
  CHECK_MESSAGE(agree, said.system_calls() << " said, " << seen.calls << " seen: " << by_number);
  CHECK(said.sleeps > 0);
  if (way == quoit::transport::shared_memory) {
    CHECK(said.wakes > 0);
    CHECK(said.sends + said.receives + said.enters + said.copies + said.copied_bytes == 0);
  } else {
    CHECK(said.sends > 5);
    CHECK(said.receives > 5);
    // Each message in and out for each subscriber, but for those that nobody took.
    CHECK(said.copies >= 4 * 5);
    CHECK(said.copied_bytes == said.copies * sizeof(checked));
  }
}

TEST_CASE("who polls in shared memory, and is polled, makes no system call") {
  const meeting here(quoit::transport::shared_memory);
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  const auto before = quoit::process_counters();
  for (std::uint64_t n = 0; n < 10'000; ++n) {
    REQUIRE(pub.publish(checked::make(1, n)));
    REQUIRE(sub.poll().value()->number == n);
  }
  CHECK((quoit::process_counters() - before).system_calls() == 0);
}
