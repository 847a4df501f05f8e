// when_all, when_any, scope: tasks side by side.
#include <doctest/doctest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "quoit/executor.hpp"
#include "quoit/scope.hpp"
#include "quoit/sleep.hpp"
#include "quoit/this_task.hpp"
#include "quoit/when_all.hpp"
#include "quoit/when_any.hpp"

using namespace std::chrono_literals;
using quoit::errc;

namespace {

quoit::task<int> after(std::chrono::nanoseconds d, int value) {
  const auto slept = co_await quoit::sleep_for(d);
  co_return slept ? value : -1;
}
quoit::task<std::string> words(std::string s) {
  co_await quoit::this_task::yield();
  co_return s;
}
quoit::task<> nothing() { co_return; }
quoit::task<int> throws_after(std::chrono::nanoseconds d) {
  static_cast<void>(co_await quoit::sleep_for(d));
  throw std::runtime_error("on purpose");
}
quoit::task<> until_stopped(int& stopped) {
  const auto slept = co_await quoit::sleep_for(1h);
  if (!slept && slept.error() == errc::cancelled) ++stopped;
}

}  // namespace

TEST_CASE("when_all has every value, whichever comes first") {
  auto all = []() -> quoit::task<> {
    const auto values = co_await quoit::when_all(after(3ms, 1), words("two"), nothing(), after(1ms, 4));
    CHECK(std::get<0>(values) == 1);
    CHECK(std::get<1>(values) == "two");
    CHECK(std::get<3>(values) == 4);
    std::vector<quoit::task<int>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(after(std::chrono::microseconds(100 - i), i));
    const auto numbers = co_await quoit::when_all(std::move(tasks));
    CHECK(numbers.size() == 100);
    for (std::size_t i = 0; i < 100; ++i) CHECK(numbers[i] == static_cast<int>(i));
    CHECK((co_await quoit::when_all(std::vector<quoit::task<int>>())).empty());
  };
  quoit::sync_wait(all());
}

TEST_CASE("when_all of a hundred thousand tasks that are ready does not use up the stack") {
  auto all = []() -> quoit::task<> {
    auto ready = [](int value) -> quoit::task<int> { co_return value; };
    std::vector<quoit::task<int>> tasks;
    for (int i = 0; i < 100'000; ++i) tasks.push_back(ready(i));
    const auto numbers = co_await quoit::when_all(std::move(tasks));
    CHECK(numbers.size() == 100'000);
    CHECK(numbers.back() == 99'999);
  };
  quoit::sync_wait(all());
}

TEST_CASE("one that throws stops the others of when_all, and its exception is thrown when they are over") {
  auto all = []() -> quoit::task<> {
    int stopped = 0;
    bool thrown = false;
    try {
      co_await quoit::when_all(throws_after(1ms), until_stopped(stopped), until_stopped(stopped));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    CHECK(thrown);
    CHECK(stopped == 2);
  };
  quoit::sync_wait(all());
}

TEST_CASE("when_any says who was first, and is over when the others have stopped") {
  auto any = []() -> quoit::task<> {
    int stopped = 0;
    const auto first = co_await quoit::when_any(until_stopped(stopped), after(1ms, 42), until_stopped(stopped));
    CHECK(first.index == 1);
    CHECK(std::get<1>(first.value) == 42);
    CHECK(stopped == 2);
    bool thrown = false;
    try {
      static_cast<void>(co_await quoit::when_any(after(1h, 1), throws_after(1ms)));
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    CHECK(thrown);
  };
  quoit::sync_wait(any());
}

TEST_CASE("a stop reaches through when_all, when_any and scopes, to the last sleeper") {
  int stopped = 0;
  auto deep = [](int& s) -> quoit::task<> {
    auto in_scope = [](int& n) -> quoit::task<> {
      quoit::scope inside;
      inside.spawn(until_stopped(n));
      inside.spawn(until_stopped(n));
      co_await inside.join();
    };
    auto in_any = [](int& n) -> quoit::task<> {
      static_cast<void>(co_await quoit::when_any(until_stopped(n), until_stopped(n)));
    };
    co_await quoit::when_all(in_scope(s), in_any(s), until_stopped(s));
  };
  auto ex = quoit::executor::create().value();
  auto stopper = [](quoit::executor& e) -> quoit::task<> {
    static_cast<void>(co_await quoit::sleep_for(2ms));
    e.request_stop();
  };
  ex.spawn(stopper(ex));
  ex.run(deep(stopped));
  CHECK(stopped == 5);
}

TEST_CASE("a scope runs what is spawned, and join waits for all of it, also for what is spawned by its tasks") {
  auto outer = []() -> quoit::task<> {
    quoit::scope s;
    int done = 0;
    auto leaf = [](int& d) -> quoit::task<> {
      co_await quoit::this_task::yield();
      ++d;
    };
    auto branch = [](quoit::scope& in, auto make, int& d) -> quoit::task<> {
      co_await quoit::this_task::yield();
      for (int i = 0; i < 3; ++i) in.spawn(make(d));
    };
    for (int i = 0; i < 10; ++i) s.spawn(branch(s, leaf, done));
    CHECK(s.running() == 10);
    co_await s.join();
    CHECK(done == 30);
    CHECK(s.running() == 0);
    co_await s.join();
  };
  quoit::sync_wait(outer());
}

TEST_CASE("a scope is joined, filled and joined again, and a stop reaches its tasks each time") {
  for (const bool stops : {false, true}) {
    int stopped = 0;
    auto outer = [](int& n, bool to_the_end) -> quoit::task<> {
      quoit::scope s;
      for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 3; ++i) {
          if (round == 2 && !to_the_end) {
            s.spawn(until_stopped(n));
          } else {
            s.spawn(nothing());
          }
        }
        co_await s.join();
        CHECK(s.running() == 0);
      }
    };
    auto ex = quoit::executor::create().value();
    auto stopper = [](quoit::executor& e) -> quoit::task<> {
      static_cast<void>(co_await quoit::sleep_for(2ms));
      e.request_stop();
    };
    if (stops) ex.spawn(stopper(ex));
    ex.run(outer(stopped, !stops));
    CHECK(stopped == (stops ? 3 : 0));
  }
}

TEST_CASE("a scope that outlives the task that joined it does not hear of its stop any more") {
  quoit::scope s;
  auto joins = [](quoit::scope& in) -> quoit::task<> {
    in.spawn(nothing());
    co_await in.join();
  };
  {
    auto ex = quoit::executor::create().value();
    ex.run(joins(s));
  }
  // What it was joined in is gone: going on in another executor does not touch it.
  auto ex = quoit::executor::create().value();
  ex.run(joins(s));
  CHECK(s.running() == 0);
}

TEST_CASE("what the tasks of a scope were given is gone when it was joined") {
  struct counted {
    explicit counted(int& n) noexcept : count(&n) { ++*count; }
    counted(const counted& other) noexcept : count(other.count) { ++*count; }
    counted& operator=(const counted&) = delete;
    ~counted() { --*count; }
    int* count;
  };
  auto outer = []() -> quoit::task<> {
    int alive = 0;
    auto holds = [](counted) -> quoit::task<> { co_await quoit::this_task::yield(); };
    auto throws = [](counted) -> quoit::task<> {
      co_await quoit::this_task::yield();
      throw std::runtime_error("on purpose");
    };
    bool thrown = false;
    quoit::scope s;
    for (int i = 0; i < 3; ++i) {
      counted given(alive);
      s.spawn(holds(given));
      s.spawn(throws(given));
    }
    try {
      co_await s.join();
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    CHECK(thrown);
    CHECK(alive == 0);
  };
  quoit::sync_wait(outer());
}

TEST_CASE("a scope that is left with tasks running destroys them") {
  auto outer = []() -> quoit::task<> {
    int stopped = 0;
    int alive = 0;
    struct guard {
      explicit guard(int& n) : count(n) { ++count; }
      ~guard() { --count; }
      int& count;
    };
    auto holds = [](int& a, int& s) -> quoit::task<> {
      const guard here(a);
      co_await until_stopped(s);
    };
    {
      quoit::scope s;
      for (int i = 0; i < 5; ++i) s.spawn(holds(alive, stopped));
      static_cast<void>(co_await quoit::sleep_for(1ms));
      CHECK(alive == 5);
    }
    CHECK(alive == 0);
    // Destroyed, not stopped: nothing of them ran any more.
    CHECK(stopped == 0);
  };
  quoit::sync_wait(outer());
}

TEST_CASE("a scope that is left with two hundred thousand tasks that are ready destroys them, each at once") {
  auto outer = []() -> quoit::task<> {
    int begun = 0;
    auto begins = [](int& n) -> quoit::task<> {
      ++n;
      co_return;
    };
    {
      quoit::scope s;
      for (int i = 0; i < 200'000; ++i) s.spawn(begins(begun));
    }
    co_await quoit::this_task::yield();
    CHECK(begun == 0);
  };
  quoit::sync_wait(outer());
}

TEST_CASE("the first exception of a scope's tasks stops the others and comes out of join") {
  auto outer = []() -> quoit::task<> {
    quoit::scope s;
    int stopped = 0;
    auto thrower = []() -> quoit::task<> {
      co_await quoit::this_task::yield();
      throw std::runtime_error("on purpose");
    };
    s.spawn(until_stopped(stopped));
    s.spawn(thrower());
    s.spawn(until_stopped(stopped));
    bool thrown = false;
    try {
      co_await s.join();
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    CHECK(thrown);
    CHECK(stopped == 2);
  };
  quoit::sync_wait(outer());
}
