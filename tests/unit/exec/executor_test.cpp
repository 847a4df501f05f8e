#include "quoit/executor.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "quoit/io.hpp"
#include "quoit/sleep.hpp"
#include "quoit/this_task.hpp"
#include "support/child.hpp"
#include "support/refuse.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

quoit::task<> yields(int n) {
  for (int i = 0; i < n; ++i) co_await quoit::this_task::yield();
}
quoit::task<int> value_after(int n) {
  co_await yields(n);
  co_return n;
}

}  // namespace

TEST_CASE("run gives the value of its task, again and again on one executor") {
  auto ex = quoit::executor::create().value();
  CHECK(!std::string(ex.describe()).empty());
  for (int i = 0; i < 10; ++i) CHECK(ex.run(value_after(i)) == i);
}

TEST_CASE("run without a task ends when what was posted is done, if that is all there is") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin}) {
    auto ex = quoit::executor::create({.wait = how}).value();
    int done = 0;
    ex.post([&] { ++done; });
    ex.run();
    CHECK(done == 1);
    ex.post([&] { ex.post([&] { ++done; }); });
    ex.run();
    CHECK(done == 2);
  }
}

TEST_CASE("run without a task ends when nothing that was spawned is left") {
  auto ex = quoit::executor::create().value();
  int done = 0;
  auto counts = [](int& d) -> quoit::task<> {
    static_cast<void>(co_await quoit::sleep_for(1ms));
    ++d;
  };
  for (int i = 0; i < 10; ++i) ex.spawn(counts(done));
  ex.run();
  CHECK(done == 10);
  ex.run();
}

TEST_CASE("an exception that leaves a spawned task stops the others and comes out of run") {
  auto ex = quoit::executor::create().value();
  bool stopped = false;
  auto sleeper = [](bool& s) -> quoit::task<> { s = !co_await quoit::sleep_for(1h); };
  auto thrower = []() -> quoit::task<> {
    co_await quoit::this_task::yield();
    throw std::runtime_error("on purpose");
  };
  ex.spawn(sleeper(stopped));
  ex.spawn(thrower());
  CHECK_THROWS_AS(ex.run(), std::runtime_error);
  CHECK(stopped);
}

TEST_CASE("work is posted from many threads, and every piece of it is run once, in the executor's thread") {
  auto ex = quoit::executor::create().value();
  constexpr int threads = 4;
  const int pieces = fast() ? 1000 : 20'000;
  int run = 0;  // of the executor's thread only
  std::atomic<int> through = 0;
  std::vector<std::thread> posters;
  auto waits = [](quoit::executor& e, std::vector<std::thread>& p, std::atomic<int>& t, int& r,
                  int n) -> quoit::task<> {
    for (int i = 0; i < threads; ++i) {
      p.emplace_back([&] {
        for (int k = 0; k < n; ++k) {
          e.post([&r] { ++r; });
          if (k % 100 == 0) std::this_thread::sleep_for(50us);
        }
        ++t;
      });
    }
    while (t != threads || r != threads * n) static_cast<void>(co_await quoit::sleep_for(100us));
  };
  ex.run(waits(ex, posters, through, run, pieces));
  for (auto& t : posters) t.join();
  CHECK(run == threads * pieces);
}

TEST_CASE("a task that is spawned, and a stop that is requested, from another thread wake a loop that sleeps") {
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  std::atomic<bool> ran = false;
  auto sleeper = []() -> quoit::task<> { CHECK((co_await quoit::sleep_for(1h)).error() == errc::cancelled); };
  auto sets = [](std::atomic<bool>& r) -> quoit::task<> {
    r = true;
    co_return;
  };
  std::thread other([&] {
    std::this_thread::sleep_for(5ms);
    ex.spawn(sets(ran));
    while (!ran) std::this_thread::sleep_for(1ms);
    ex.request_stop();
  });
  ex.run(sleeper());
  other.join();
  CHECK(ex.sleeps() > 0);
}

TEST_CASE("a stop that the last task asks for as it ends is not for the next run") {
  auto stops = [](quoit::executor& here) -> quoit::task<> {
    here.request_stop();
    co_return;
  };
  auto naps = []() -> quoit::task<bool> {
    const auto slept = co_await quoit::sleep_for(1ms);
    co_return slept.has_value();
  };
  auto ex = quoit::executor::create().value();
  ex.run(stops(ex));
  CHECK(ex.run(naps()));
  // In the loop of another, too.
  ex.spawn(stops(ex));
  while (ex.poll()) {
  }
  bool whole = false;
  auto notes = [](auto make, bool& out) -> quoit::task<> {
    const bool slept = co_await make();
    out = slept;
  };
  ex.spawn(notes(naps, whole));
  while (ex.poll()) {
  }
  CHECK(whole);
}

TEST_CASE("a stop ends with the run that leaves no task, and one that comes between runs is for the next") {
  auto ex = quoit::executor::create().value();
  auto sleeps = [](std::chrono::nanoseconds d) -> quoit::task<bool> {
    const auto slept = co_await quoit::sleep_for(d);
    co_return slept.has_value();
  };
  ex.request_stop();
  ex.request_stop();
  CHECK(!ex.run(sleeps(1h)));
  CHECK(ex.run(sleeps(1us)));
  auto throws = []() -> quoit::task<> {
    co_await quoit::this_task::yield();
    throw std::runtime_error("on purpose");
  };
  ex.spawn(throws());
  CHECK_THROWS(ex.run(sleeps(1h)));
  CHECK(ex.run(sleeps(1us)));
  // A task that is left keeps it: it has not heard of it yet, and is to hear of it in the next run.
  bool heard = false;
  auto asks_later = [](bool& h) -> quoit::task<> {
    for (int i = 0; i < 10; ++i) co_await quoit::this_task::yield();
    while (!h) {
      const auto slept = co_await quoit::sleep_for(1us);
      h = !slept;
    }
  };
  auto stops = [](quoit::executor& e, bool& h, auto make) -> quoit::task<> {
    e.spawn(make(h));
    e.request_stop();
    co_return;
  };
  ex.run(stops(ex, heard, asks_later));
  CHECK(!heard);
  ex.run();
  CHECK(heard);
  CHECK(ex.run(sleeps(1us)));
}

TEST_CASE("what was posted and not run goes with the executor") {
  auto held = std::make_shared<int>(1);
  {
    auto ex = quoit::executor::create().value();
    ex.post([held] {});
    ex.spawn(yields(3));
    CHECK(held.use_count() == 2);
  }
  CHECK(held.use_count() == 1);
}

TEST_CASE("an executor runs on one thread, and not inside of itself") {
  auto ex = quoit::executor::create().value();
  auto inside = [](quoit::executor& e) -> quoit::task<> {
    CHECK_THROWS_AS(e.run(yields(1)), std::logic_error);
    auto other = quoit::executor::create().value();
    CHECK_THROWS_AS(other.run(yields(1)), std::logic_error);
    co_return;
  };
  ex.run(inside(ex));
  std::thread([&] { CHECK_THROWS_AS(ex.run(yields(1)), std::logic_error); }).join();
  ex.run(yields(1));
  // Made here, run there.
  auto made = quoit::executor::create().value();
  std::thread([&] {
    auto moved = std::move(made);
    moved.run(yields(1));
  }).join();
}

TEST_CASE("an executor that has slept may go on another thread, with tasks left that wait for no operation") {
  int alive = 0;
  struct guard {
    explicit guard(int& n) : count(n) { ++count; }
    ~guard() { --count; }
    int& count;
  };
  auto sleeps = [](int& n) -> quoit::task<> {
    const guard here(n);
    static_cast<void>(co_await quoit::sleep_for(1h));
  };
  auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(1ms)); };
  // This thread has an executor of its own, which that one must not harm.
  auto ours = quoit::executor::create({.wait = quoit::wait::block}).value();
  ours.run(a_while());
  for (int i = 0; i < 3; ++i) {
    auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
    std::thread([&] {
      ex.spawn(sleeps(alive));
      ex.run(a_while());
    }).join();
    CHECK(ex.sleeps() > 0);
    CHECK(alive == 1);
    {
      const auto gone = std::move(ex);
    }
    CHECK(alive == 0);
    // Through the kernel, and back.
    auto closes = []() -> quoit::task<bool> {
      const auto closed = co_await quoit::close(::eventfd(0, EFD_CLOEXEC));
      co_return closed.has_value();
    };
    CHECK(ours.run(closes()));
  }
}

TEST_CASE("an executor that goes on another thread with a task in an operation says so and aborts") {
  child wrong([] {
    ::close(STDERR_FILENO);
    ::signal(SIGABRT, SIG_DFL);
    int ends[2];
    if (::pipe(ends) != 0) return 1;
    auto ex = quoit::executor::create().value();
    auto reads = [](int fd) -> quoit::task<> {
      std::byte one[1];
      static_cast<void>(co_await quoit::read(fd, one));
    };
    std::thread([&] {
      ex.spawn(reads(ends[0]));
      auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(1ms)); };
      ex.run(a_while());
    }).join();
    return 0;
  });
  CHECK(wrong.wait().signal == SIGABRT);
}

TEST_CASE("a forked child may not run its parent's executor, and the parent goes on") {
  auto ex = quoit::executor::create().value();
  ex.run(yields(1));
  child forked([&] {
    try {
      ex.run(yields(1));
    } catch (const std::logic_error& e) {
      return std::string(e.what()).find("forked") != std::string::npos ? 0 : 1;
    }
    return 2;
  });
  CHECK(forked.wait().status == 0);
  ex.run(yields(1));
}

TEST_CASE("without descriptors there is no executor, but an error that says so") {
  child poor([] {
    const rlimit few{3, 3};
    ::setrlimit(RLIMIT_NOFILE, &few);
    const auto none = quoit::executor::create();
    if (none) return 1;
    if (none.error() != errc::limit_reached) return 2;
    return none.error().message().find("open files") != std::string::npos ? 0 : 3;
  });
  CHECK(poor.wait().status == 0);
  CHECK(quoit::executor::create({.entries = 7}).error() == errc::invalid_argument);
  CHECK(quoit::executor::create({.entries = 40'000}).error() == errc::invalid_argument);
}

TEST_CASE("a task that the kernel refuses to run is gone when run throws") {
  child sandboxed([] {
    auto ex = quoit::executor::create().value();
    if (!refuse({SYS_io_uring_register}, EPERM)) return 77;
    auto held = std::make_shared<int>(1);
    auto holds = [](std::shared_ptr<int>) -> quoit::task<> { co_await yields(1); };
    for (int i = 0; i < 2; ++i) {
      bool thrown = false;
      try {
        ex.run(holds(held));
      } catch (const std::runtime_error&) {
        thrown = true;
      }
      if (!thrown) return std::string(ex.describe()) == "io_uring, deferred completions" ? 1 : 77;
      if (held.use_count() != 1) return 2;
    }
    return 0;
  });
  const ending how = sandboxed.wait();
  if (how.status == 77) QUOIT_SKIP("neither seccomp filters nor deferred completions are to be had here");
  CHECK(how.status == 0);
}

TEST_CASE("an exception comes out of the run that it happened in, and of no other") {
  auto ex = quoit::executor::create().value();
  auto throws = [](const char* words) -> quoit::task<> {
    co_await quoit::this_task::yield();
    throw std::runtime_error(words);
  };
  // Its own exception comes of the stop that the spawned one asked for.
  auto throws_when_stopped = []() -> quoit::task<> {
    const auto slept = co_await quoit::sleep_for(1h);
    if (!slept) throw std::runtime_error("run");
  };
  ex.spawn(throws("spawned"));
  CHECK_THROWS_WITH(ex.run(throws_when_stopped()), "run");
  ex.run(yields(1));
  ex.post([] { throw std::runtime_error("posted"); });
  CHECK_THROWS_WITH(ex.run(), "posted");
  ex.run();
}

TEST_CASE("every wait strategy runs the same tasks") {
  for (const auto how : {quoit::wait::adaptive, quoit::wait::spin, quoit::wait::block}) {
    auto work = []() -> quoit::task<int> {
      co_await yields(100);
      static_cast<void>(co_await quoit::sleep_for(1ms));
      co_return 5;
    };
    CHECK(quoit::sync_wait(work(), {.wait = how}) == 5);
  }
}

TEST_CASE("blocking work goes to a thread, and posts what it made of it") {
  auto ex = quoit::executor::create().value();
  auto work = [](quoit::executor& e) -> quoit::task<int> {
    std::optional<int> answer;
    std::thread worker([&] {
      std::this_thread::sleep_for(2ms);
      e.post([&answer] { answer = 42; });
    });
    while (!answer) static_cast<void>(co_await quoit::sleep_for(100us));
    worker.join();
    co_return *answer;
  };
  CHECK(ex.run(work(ex)) == 42);
}
