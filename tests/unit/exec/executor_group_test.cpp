#include "quoit/executor_group.hpp"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "quoit/run_on.hpp"
#include "quoit/scope.hpp"
#include "quoit/sleep.hpp"
#include "quoit/this_task.hpp"
#include "quoit/timeout.hpp"
#include "support/child.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

using group = quoit::executor_group;

quoit::executor_group_options of(std::uint32_t count, quoit::wait how = quoit::wait::block) {
  quoit::executor_group_options options;
  options.count = count;
  options.executor.wait = how;
  return options;
}

quoit::task<> counts(std::atomic<int>& done) {
  static_cast<void>(co_await quoit::sleep_for(1ms));
  ++done;
}
quoit::task<> never_ends(errc& why) {
  const auto slept = co_await quoit::sleep_for(1h);
  if (!slept) why = slept.error().code();
}
quoit::task<> throws() {
  static_cast<void>(co_await quoit::sleep_for(1ms));
  throw std::runtime_error("a task's");
}

int cpus_allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  return CPU_COUNT(&set);
}

}  // namespace

TEST_CASE("a group has an executor for each CPU that may be used, each on a thread that stays there") {
  auto all = group::create().value();
  REQUIRE(all.size() == static_cast<std::size_t>(cpus_allowed()));
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::set<int> cpus;
  all.spawn_on_each([&](quoit::executor& where, std::size_t i) -> quoit::task<> {
    return [](group& g, quoit::executor& w, std::size_t n, std::mutex& m, std::set<std::thread::id>& t,
              std::set<int>& c) -> quoit::task<> {
      co_await quoit::this_task::yield();
      const std::lock_guard hold(m);
      CHECK(&g[n] == &w);
      CHECK(quoit::detail::loop::current() == &w.loop());
      CHECK(cpus_allowed() == 1);
      CHECK(::sched_getcpu() == g.cpu(n));
      t.insert(std::this_thread::get_id());
      c.insert(g.cpu(n));
    }(all, where, i, mutex, threads, cpus);
  });
  all.join();
  CHECK(threads.size() == all.size());
  CHECK(cpus.size() == all.size());
  CHECK(threads.count(std::this_thread::get_id()) == 0);
}

TEST_CASE("a group that is not pinned runs wherever it may, with as many threads as it was asked for") {
  auto options = of(5);
  options.pin = false;
  auto all = group::create(options).value();
  CHECK(all.size() == 5);
  const int before = cpus_allowed();
  std::atomic<int> there{0};
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(all.cpu(i) == -1);
    all.post(i, [&] { there += cpus_allowed() == before ? 1 : 0; });
  }
  all.join();
  CHECK(there == 5);
}

TEST_CASE("join waits for what was spawned and posted, and for what that spawns and posts elsewhere") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive}) {
    auto all = group::create(of(3, how)).value();
    std::atomic<int> done{0};
    for (std::size_t i = 0; i < 3; ++i) {
      for (int n = 0; n < 10; ++n) all.spawn(i, counts(done));
      all.post(i, [&all, &done, i] {
        all.spawn((i + 1) % 3, counts(done));
        all.post((i + 2) % 3, [&all, &done, i] { all[i].spawn(counts(done)); });
      });
    }
    all.join();
    CHECK(done == 3 * 12);
    // Nothing is left to do.
    all.join();
  }
}

TEST_CASE("join waits for what was spawned on an executor itself, which finds the other executors at work") {
  // In a process of its own: what hangs ends there.
  child joins([] {
    ::alarm(60);
    for (int i = 0; i < 50; ++i) {
      auto both = group::create({.count = 2, .pin = false}).value();
      std::atomic<int> answer = 0;
      auto one = []() -> quoit::task<int> { co_return 1; };
      auto late = [](quoit::executor& other, auto make, std::atomic<int>& out) -> quoit::task<> {
        static_cast<void>(co_await quoit::sleep_for(2ms));
        const int got = co_await quoit::run_on(other, make());
        out = got;
      };
      auto start = [&](quoit::executor& here) -> quoit::task<> {
        here.spawn(late(both[1], one, answer));
        return []() -> quoit::task<> { co_return; }();
      };
      both.spawn(0, start);
      both.join();
      if (answer != 1) return 1;
    }
    return 0;
  });
  CHECK(joins.wait().status == 0);
}

TEST_CASE("join ends at once with nothing to do, and nothing is taken after it") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin}) {
    auto all = group::create(of(2, how)).value();
    all.join();
    std::atomic<int> done{0};
    CHECK_THROWS_AS(all.spawn(0, counts(done)), std::logic_error);
    CHECK_THROWS_AS(all.post(1, [] {}), std::logic_error);
    CHECK(done == 0);
  }
}

TEST_CASE("a stop reaches the tasks of all executors, and those that come later") {
  auto all = group::create(of(3)).value();
  errc why[4] = {};
  for (std::size_t i = 0; i < 3; ++i) all.spawn(i, never_ends(why[i]));
  std::this_thread::sleep_for(2ms);
  all.request_stop();
  all.spawn(1, never_ends(why[3]));
  all.join();
  for (const errc e : why) CHECK(e == errc::cancelled);
}

TEST_CASE("a group that goes stops its tasks and waits for them") {
  errc why[2] = {};
  {
    auto all = group::create(of(2)).value();
    for (std::size_t i = 0; i < 2; ++i) all.spawn(i, never_ends(why[i]));
    auto moved = std::move(all);
    CHECK(moved.size() == 2);
  }
  CHECK(why[0] == errc::cancelled);
  CHECK(why[1] == errc::cancelled);
}

TEST_CASE("an exception stops everything, and join throws the first one when all is over") {
  const auto by_group = [](group& g) { g.spawn(0, throws()); };
  const auto by_executor = [](group& g) { g[0].spawn(throws()); };
  const auto by_post = [](group& g) { g.post(0, [] { throw std::runtime_error("a task's"); }); };
  const auto by_make = [](group& g) {
    g.spawn(0, [](quoit::executor&) -> quoit::task<> { throw std::runtime_error("a task's"); });
  };
  for (const auto& way : {std::function<void(group&)>(by_group), std::function<void(group&)>(by_executor),
                          std::function<void(group&)>(by_post), std::function<void(group&)>(by_make)}) {
    auto all = group::create(of(3)).value();
    errc why[3] = {};
    for (std::size_t i = 0; i < 3; ++i) all.spawn(i, never_ends(why[i]));
    way(all);
    CHECK_THROWS_WITH_AS(all.join(), "a task's", std::runtime_error);
    for (const errc e : why) CHECK(e == errc::cancelled);
    all.join();
  }
}

TEST_CASE("a group is not joined on one of its own threads") {
  auto all = group::create(of(2)).value();
  std::atomic<bool> refused{false};
  all.post(0, [&] {
    try {
      all.join();
    } catch (const std::logic_error&) {
      refused = true;
    }
  });
  all.join();
  CHECK(refused);
}

TEST_CASE("a group that cannot be is an error that says why, and leaves no thread") {
  const auto many = group::create(of(5000));
  REQUIRE(!many);
  CHECK(many.error() == errc::invalid_argument);
  CHECK(many.error().message().find("1024") != std::string::npos);

  auto wrong = of(2);
  wrong.executor.entries = 1;
  CHECK(group::create(wrong).error() == errc::invalid_argument);

  // Of descriptors some for the first ones only.
  child poor([] {
    for (int spare = 0; spare < 8; ++spare) {
      const int next = ::dup(0);
      ::close(next);
      const rlimit few{static_cast<rlim_t>(next + spare), static_cast<rlim_t>(1024)};
      ::setrlimit(RLIMIT_NOFILE, &few);
      const auto none = group::create(of(6));
      if (none || none.error() != errc::limit_reached) return 1;
    }
    return 0;
  });
  CHECK(poor.wait().status == 0);
}

TEST_CASE("a group whose threads cannot be made is an error that says how many there were") {
  if (::geteuid() == 0) QUOIT_SKIP("root may make any number of threads");
  child poor([] {
    const rlimit few{1, 1};
    ::setrlimit(RLIMIT_NPROC, &few);
    const auto none = group::create(of(2));
    return !none && none.error() == errc::limit_reached ? 0 : 1;
  });
  CHECK(poor.wait().status == 0);
}

TEST_CASE("a forked child has no use of a group, and loses nothing by destroying it") {
  auto all = std::make_unique<group>(group::create(of(2)).value());
  std::atomic<int> done{0};
  child copy([&] {
    int refused = 0;
    try {
      all->post(0, [] {});
    } catch (const std::logic_error&) {
      ++refused;
    }
    try {
      all->join();
    } catch (const std::logic_error&) {
      ++refused;
    }
    all.reset();
    return refused == 2 ? 0 : 1;
  });
  CHECK(copy.wait().status == 0);
  all->spawn(1, counts(done));
  all->join();
  CHECK(done == 1);
}

// ---- a task on another executor ----

namespace {

quoit::task<std::string> says(std::string words) {
  co_await quoit::this_task::yield();
  co_return words + "!";
}
quoit::task<std::thread::id> where_am_i() {
  co_await quoit::this_task::yield();
  co_return std::this_thread::get_id();
}
quoit::task<errc> sleeps_long() {
  const auto slept = co_await quoit::sleep_for(1h);
  co_return slept ? errc{} : slept.error().code();
}

}  // namespace

TEST_CASE("a task that is run on another executor gives its value, and what awaited it goes on where it was") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin}) {
    auto all = group::create(of(2, how)).value();
    auto ask = [](group& g) -> quoit::task<> {
      const auto here = std::this_thread::get_id();
      for (int i = 0; i < 200; ++i) {
        const auto there = co_await quoit::run_on(g[1], where_am_i());
        CHECK(there != here);
        CHECK(std::this_thread::get_id() == here);
        const std::string words = co_await quoit::run_on(g[1], says("a value that is long enough for the heap"));
        CHECK(words == "a value that is long enough for the heap!");
      }
      // On the same one.
      const auto same = co_await quoit::run_on(g[0], where_am_i());
      CHECK(same == here);
    };
    all.spawn(0, ask(all));
    all.join();
  }
}

TEST_CASE("what a task throws on another executor is thrown where it is awaited") {
  auto all = group::create(of(2)).value();
  std::atomic<bool> caught{false};
  auto ask = [](group& g, std::atomic<bool>& c) -> quoit::task<> {
    try {
      co_await quoit::run_on(g[1], throws());
    } catch (const std::runtime_error&) {
      c = true;
    }
  };
  all.spawn(0, ask(all, caught));
  all.join();
  CHECK(caught);
}

TEST_CASE("a stop reaches a task on another executor, whether it begins, waits or is over") {
  const int rounds = fast() ? 50 : 500;
  auto all = group::create(of(2)).value();
  int cancelled = 0;
  auto ask = [](group& g, int n, int& c) -> quoit::task<> {
    for (int i = 0; i < n; ++i) {
      // Its time is over at once, or a little later.
      auto limited = [](group& other, int& count) -> quoit::task<quoit::result<void>> {
        const errc why = co_await quoit::run_on(other[1], sleeps_long());
        if (why == errc::cancelled) ++count;
        co_return quoit::result<void>();
      };
      const auto ended = co_await quoit::timeout(std::chrono::microseconds(i % 50), limited(g, c));
      static_cast<void>(ended);
    }
  };
  all.spawn(0, ask(all, rounds, cancelled));
  all.join();
  CHECK(cancelled == rounds);
}

TEST_CASE("a stop of the other executor reaches the task") {
  auto all = group::create(of(2)).value();
  std::atomic<bool> cancelled{false};
  auto ask = [](group& g, std::atomic<bool>& c) -> quoit::task<> {
    const errc why = co_await quoit::run_on(g[1], sleeps_long());
    c = why == errc::cancelled;
  };
  all.spawn(0, ask(all, cancelled));
  std::this_thread::sleep_for(2ms);
  all[1].request_stop();
  all.join();
  CHECK(cancelled);
}

TEST_CASE("a task that waits for another executor may be destroyed: the other is asked to stop, and ends alone") {
  const int rounds = fast() ? 20 : 200;
  std::atomic<int> ended{0};
  auto all = group::create(of(1)).value();
  auto counted = [](std::atomic<int>& n) -> quoit::task<> {
    const auto slept = co_await quoit::sleep_for(1h);
    if (!slept) ++n;
  };
  for (int i = 0; i < rounds; ++i) {
    auto here = quoit::executor::create({.wait = quoit::wait::block}).value();
    auto ask = [](group& g, quoit::task<> work) -> quoit::task<> { co_await quoit::run_on(g[0], std::move(work)); };
    here.spawn(ask(all, counted(ended)));
    auto a_while = [](int us) -> quoit::task<> {
      static_cast<void>(co_await quoit::sleep_for(std::chrono::microseconds(us)));
    };
    here.run(a_while(i));
  }
  all.join();
  CHECK(ended == rounds);
}

TEST_CASE("whoever waits for an executor that goes is told, whether the task had begun or not") {
  for (const bool begun : {false, true}) {
    auto here = quoit::executor::create({.wait = quoit::wait::block}).value();
    auto there = std::make_unique<quoit::executor>(quoit::executor::create({.wait = quoit::wait::block}).value());
    bool told = false;
    auto ask = [](quoit::executor& other, bool& t) -> quoit::task<> {
      try {
        static_cast<void>(co_await quoit::run_on(other, sleeps_long()));
      } catch (const std::runtime_error&) {
        t = true;
      }
    };
    here.spawn(ask(*there, told));
    auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(1ms)); };
    here.run(a_while());
    if (begun) there->run(a_while());
    there.reset();
    here.run();
    CHECK(told);
  }
}
