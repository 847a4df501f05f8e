// On what an executor stands: what it asks of the kernel, and what it does where that is refused.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#include "quoit/executor.hpp"
#include "quoit/io.hpp"
#include "quoit/sleep.hpp"
#include "quoit/this_task.hpp"
#include "support/child.hpp"
#include "support/refuse.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::io_engine;

namespace {

quoit::task<int> value_after(int n) {
  for (int i = 0; i < n; ++i) co_await quoit::this_task::yield();
  co_return n;
}

struct refusal {
  int number;
  errc code;
  const char* words;
};
constexpr refusal refusals[] = {{EPERM, errc::no_permission, "io_uring_disabled"},
                                {ENOSYS, errc::system, "no io_uring"},
                                {ENOMEM, errc::no_space, "memory"},
                                {EMFILE, errc::limit_reached, "open files"},
                                {EINVAL, errc::system, ""}};

// The kernel's version as 100 * major + minor: this one's, or that of the kernel that tests/support/without stands for.
int kernel_version() {
  utsname name{};
  ::uname(&name);
  const char* const stands_for = std::getenv("QUOIT_TEST_KERNEL");
  int major = 0, minor = 0;
  if (std::sscanf(stands_for != nullptr ? stands_for : name.release, "%d.%d", &major, &minor) != 2) return 0;
  return 100 * major + minor;
}

// Whether anybody gets an io_uring here.
bool io_uring_is_refused() {
  return ::syscall(SYS_io_uring_setup, 0u, nullptr) < 0 && (errno == EPERM || errno == ENOSYS || errno == EACCES);
}

}  // namespace

TEST_CASE("an executor stands on the best that this kernel has") {
  const int version = kernel_version();
  REQUIRE(version > 0);
  const auto ex = quoit::executor::create({.engine = io_engine::automatic}).value();
  const std::string words = ex.describe();
  CAPTURE(version);
  CAPTURE(words);
  const bool sleeps_on_words =
      quoit::executor::create({.engine = io_engine::automatic, .rung = quoit::rung::futex}).has_value();
  // A 5.10 that was looked after has the io_uring of 5.15; the one that tests/support/older_io_uring.cpp stands for
  // not.
  const bool too_old = version < 511 && (std::getenv("QUOIT_TEST_KERNEL") != nullptr || words != "io_uring");
  if (io_uring_is_refused() || too_old) {
    CHECK(words.starts_with("epoll ("));
    CHECK(!sleeps_on_words);
    return;
  }
  CHECK(words == (version >= 601   ? "io_uring, deferred completions"
                  : version >= 519 ? "io_uring, cooperative completions"
                                   : "io_uring"));
  CHECK(sleeps_on_words == (version >= 607));
}

TEST_CASE("where io_uring was asked for and is refused there is no executor, but an error that says why") {
  for (const refusal& r : refusals) {
    child sandboxed([&] {
      if (!refuse({SYS_io_uring_setup}, r.number)) return 77;
      const quoit::executor_options options{.engine = quoit::io_engine::io_uring};
      const auto none = quoit::executor::create(options);
      if (none) return 1;
      if (none.error() != r.code) return 2;
      if (none.error().system_errno() != r.number) return 3;
      if (none.error().message().find(r.words) == std::string::npos) return 4;
      const bool says_what_works = none.error().message().find("epoll") != std::string::npos;
      if (says_what_works != (r.number != EMFILE)) return 6;
      // The name of the code is said once.
      const std::string words = none.error().message();
      const std::string code = words.substr(0, words.find(':'));
      if (words.find(code, code.size()) != std::string::npos) return 7;
      try {
        quoit::sync_wait(value_after(1), options);
      } catch (const std::runtime_error&) {
        return 0;
      }
      return 5;
    });
    const ending how = sandboxed.wait();
    if (how.status == 77) QUOIT_SKIP("seccomp filters are not to be had here");
    CHECK_MESSAGE(how.status == 0, "errno ", r.number);
  }
}

TEST_CASE("where io_uring is refused an executor stands on epoll, and says why") {
  for (const refusal& r : refusals) {
    child sandboxed([&] {
      if (!refuse({SYS_io_uring_setup}, r.number)) return 77;
      const auto made = quoit::executor::create({.engine = quoit::io_engine::automatic});
      // Who has no descriptors has none for epoll.
      if (r.number == EMFILE) return !made && made.error() == errc::limit_reached ? 0 : 1;
      if (!made) return 2;
      const std::string words = made->describe();
      if (!words.starts_with("epoll (io_uring") || words.find(r.words) == std::string::npos) return 3;
      // Nor is there a futex then, for the same reason.
      const auto none = quoit::executor::create({.engine = quoit::io_engine::automatic, .rung = quoit::rung::futex});
      if (none || none.error().message().find(r.words) == std::string::npos) return 5;
      auto ex = quoit::executor::create({.engine = quoit::io_engine::automatic}).value();
      return ex.run(value_after(7)) == 7 ? 0 : 4;
    });
    const ending how = sandboxed.wait();
    if (how.status == 77) QUOIT_SKIP("seccomp filters are not to be had here");
    CHECK_MESSAGE(how.status == 0, "errno ", r.number);
  }
}

TEST_CASE("the environment names the engine where no option does, and a word that it does not know is an error") {
  child asks([] {
    ::setenv("QUOIT_ENGINE", "epoll", 1);
    if (std::string(quoit::executor::create().value().describe()) != "epoll (asked for)") return 1;
    const auto option = quoit::executor::create({.engine = quoit::io_engine::io_uring});
    if (option && std::string(option->describe()).find("io_uring") != 0) return 2;
    ::setenv("QUOIT_ENGINE", "kqueue", 1);
    const auto none = quoit::executor::create();
    if (none || none.error() != errc::invalid_argument) return 3;
    return none.error().message().find("kqueue") != std::string::npos ? 0 : 4;
  });
  CHECK(asks.wait().status == 0);
  CHECK(quoit::executor::create({.engine = static_cast<quoit::io_engine>(4)}).error() == errc::invalid_argument);
}

TEST_CASE("an io_uring that can be made but not used is none, and the executor stands on epoll") {
  const bool has_one = !io_uring_is_refused() && kernel_version() >= 511 && std::getenv("QUOIT_TEST_KERNEL") == nullptr;
  for (const long call : {SYS_io_uring_enter, SYS_io_uring_register}) {
    child sandboxed([&] {
      if (!refuse({call}, EPERM)) return 77;
      auto ex = quoit::executor::create({.engine = io_engine::automatic}).value();
      const std::string words = ex.describe();
      const char* const name = call == SYS_io_uring_enter ? "io_uring_enter: " : "io_uring_register: ";
      if (!words.starts_with("epoll (")) return 1;
      if (has_one && words.find(name) == std::string::npos) return 2;
      return ex.run(value_after(7)) == 7 ? 0 : 3;
    });
    const ending how = sandboxed.wait();
    if (how.status == 77) QUOIT_SKIP("seccomp filters are not to be had here");
    CHECK_MESSAGE(how.status == 0, "call ", call);
  }
}

namespace {

constexpr auto pause = 50ms;

quoit::task<> sleeps(std::chrono::nanoseconds d) {
  const auto slept = co_await quoit::sleep_for(d);
  REQUIRE(slept.has_value());
}

quoit::task<bool> hears_and_sleeps(int from) {
  std::array<std::byte, 8> buffer{};
  const auto received = co_await quoit::recv(from, buffer);
  const auto slept = co_await quoit::sleep_for(pause);
  co_return received.has_value() && *received == 1 && slept.has_value();
}

// In a process of its own, whose filter this sets. 0, or what was wrong.
int wait_without_pwait2(bool without_timers) {
  auto ex = quoit::executor::create({.wait = quoit::wait::block, .engine = io_engine::epoll}).value();
  const bool filtered =
      without_timers ? refuse({SYS_epoll_pwait2, SYS_timerfd_create}, ENOSYS) : refuse({SYS_epoll_pwait2}, EPERM);
  if (!filtered) return 77;
  for (const std::chrono::nanoseconds d : {std::chrono::nanoseconds(pause), std::chrono::nanoseconds(300us)}) {
    const auto begin = std::chrono::steady_clock::now();
    ex.run(sleeps(d));
    if (std::chrono::steady_clock::now() - begin < d) return 1;
  }
  // A descriptor ends a wait without an end, and the timer of one wait does not end the next.
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 2;
  std::thread writer([&] {
    std::this_thread::sleep_for(pause);
    static_cast<void>(::send(ends[1], "x", 1, 0));
  });
  const bool heard = ex.run(hears_and_sleeps(ends[0]));
  writer.join();
  if (!heard) return 3;
  // Who does not sleep asks thousands of times.
  return ex.system_calls() < 300 ? 0 : 4;
}

}  // namespace

TEST_CASE("on epoll, an executor sleeps in the kernel also where it must set a timer for that, or has none") {
  for (const bool without_timers : {false, true}) {
    child sandboxed([&] { return wait_without_pwait2(without_timers); });
    const ending how = sandboxed.wait();
    if (how.status == 77) QUOIT_SKIP("seccomp filters are not to be had here");
    CAPTURE(without_timers);
    CHECK(how.status == 0);
  }
}
