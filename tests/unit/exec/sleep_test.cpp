#include "quoit/sleep.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "quoit/detail/exec/timer.hpp"
#include "quoit/executor.hpp"
#include "quoit/offload.hpp"
#include "quoit/scope.hpp"
#include "quoit/timeout.hpp"
#include "quoit/when_any.hpp"

using namespace std::chrono_literals;
using quoit::errc;
using clock_type = std::chrono::steady_clock;

namespace {

quoit::task<> note_after(std::chrono::nanoseconds d, int number, std::vector<int>& order) {
  const auto slept = co_await quoit::sleep_for(d);
  if (slept) order.push_back(number);
}
quoit::task<> sleep_through(std::chrono::nanoseconds d) { static_cast<void>(co_await quoit::sleep_for(d)); }
quoit::task<quoit::result<void>> sleep_task(std::chrono::nanoseconds d) { co_return co_await quoit::sleep_for(d); }

}  // namespace

TEST_CASE("sleep lasts at least as long as it is told") {
  const auto begin = clock_type::now();
  CHECK(quoit::sync_wait(sleep_task(15ms)).has_value());
  CHECK(clock_type::now() - begin >= 15ms);
  CHECK(quoit::sync_wait(sleep_task(-1s)).has_value());
  CHECK(quoit::sync_wait(sleep_task(0s)).has_value());
}

TEST_CASE("sleepers wake in the order of their times, whatever the order in which they went to sleep") {
  std::vector<int> order;
  auto all = [](std::vector<int>& o) -> quoit::task<> {
    quoit::scope s;
    const std::array<int, 5> numbers = {5, 1, 4, 2, 3};
    for (const int i : numbers) s.spawn(note_after(i * 20ms, i, o));
    co_await s.join();
  };
  quoit::sync_wait(all(order));
  CHECK(order == std::vector<int>{1, 2, 3, 4, 5});
}

TEST_CASE("a sleep that is stopped answers cancelled, before it begins and in its course") {
  auto inner = [](bool before) -> quoit::task<> {
    quoit::scope s;
    bool cancelled = false;
    auto sleeper = [](bool& c) -> quoit::task<> {
      const auto slept = co_await quoit::sleep_for(1h);
      c = !slept && slept.error() == errc::cancelled;
    };
    if (before) s.request_stop();
    s.spawn(sleeper(cancelled));
    CHECK(co_await quoit::sleep_for(1ms));
    s.request_stop();
    co_await s.join();
    CHECK(cancelled);
  };
  quoit::sync_wait(inner(true));
  quoit::sync_wait(inner(false));
}

TEST_CASE("a stop and the end of a sleep in the same turn resume it once") {
  auto racing = []() -> quoit::task<> {
    for (int i = 0; i < 200; ++i) {
      quoit::scope s;
      int resumed = 0;
      auto sleeper = [](int& r) -> quoit::task<> {
        static_cast<void>(co_await quoit::sleep_for(20us));
        ++r;
      };
      s.spawn(sleeper(resumed));
      static_cast<void>(co_await quoit::sleep_for(20us));
      s.request_stop();
      co_await s.join();
      CHECK(resumed == 1);
    }
  };
  quoit::sync_wait(racing());
}

TEST_CASE("timeout answers timed_out when the time is over, and else what the task answers") {
  CHECK(quoit::sync_wait(quoit::timeout(1h, sleep_task(1ms))).has_value());
  CHECK(quoit::sync_wait(quoit::timeout(1ms, sleep_task(1h))).error() == errc::timed_out);
  CHECK(quoit::sync_wait(quoit::timeout(1ms, quoit::sleep_for(1h))).error() == errc::timed_out);
}

TEST_CASE("times at either end of the clock are times like others") {
  auto all = []() -> quoit::task<> {
    CHECK((co_await quoit::sleep_until(clock_type::time_point::min())).has_value());
    CHECK((co_await quoit::sleep_until(clock_type::now() - 1h)).has_value());
    CHECK((co_await quoit::timeout(std::chrono::nanoseconds::max(), sleep_task(1ms))).has_value());
    CHECK((co_await quoit::timeout(std::chrono::nanoseconds::min(), sleep_task(1h))).error() == errc::timed_out);
    quoit::scope s;
    int cancelled = 0;
    auto for_ever = [](int& c, bool until) -> quoit::task<> {
      quoit::result<void> slept;
      if (until) {
        slept = co_await quoit::sleep_until(clock_type::time_point::max());
      } else {
        slept = co_await quoit::sleep_for(std::chrono::nanoseconds::max());
      }
      if (!slept && slept.error() == errc::cancelled) ++c;
    };
    s.spawn(for_ever(cancelled, true));
    s.spawn(for_ever(cancelled, false));
    CHECK((co_await quoit::sleep_for(2ms)).has_value());
    CHECK(s.running() == 2);
    s.request_stop();
    co_await s.join();
    CHECK(cancelled == 2);
  };
  for (const auto how : {quoit::wait::adaptive, quoit::wait::block}) quoit::sync_wait(all(), {.wait = how});
}

TEST_CASE("a sleep ends at its time, whatever the loop's alarm was set for in an earlier one") {
  auto all = []() -> quoit::task<> {
    quoit::scope s;
    s.spawn(sleep_through(1h));
    // The loop sleeps now, and for an hour if it were for the time alone.
    static_cast<void>(co_await quoit::offload([] { std::this_thread::sleep_for(5ms); }));
    for (const auto d : {60ms, 5ms, 110ms, 60ms}) {
      const auto begin = clock_type::now();
      CHECK(co_await quoit::sleep_for(d));
      CHECK(clock_type::now() - begin >= d);
    }
    s.request_stop();
    co_await s.join();
    // Set for the one that is given up, and goes off in the course of the other.
    CHECK_FALSE(co_await quoit::timeout(1ms, sleep_task(70ms)));
    const auto begin = clock_type::now();
    CHECK(co_await quoit::sleep_for(150ms));
    CHECK(clock_type::now() - begin >= 150ms);
  };
  for (const auto how : {quoit::wait::adaptive, quoit::wait::block}) quoit::sync_wait(all(), {.wait = how});
}

TEST_CASE("the heap of timers gives them in order, with some taken out of its middle") {
  std::mt19937 random(7);
  std::vector<quoit::detail::timer> timers(2000);
  quoit::detail::timer_heap heap;
  for (auto& t : timers) {
    t.at_ns = static_cast<std::int64_t>(random() % 5000);
    heap.add(t);
  }
  std::vector<std::int64_t> expected;
  for (std::size_t i = 0; i < timers.size(); ++i) {
    if (random() % 3 == 0) {
      heap.remove(timers[i]);
    } else {
      expected.push_back(timers[i].at_ns);
    }
  }
  std::sort(expected.begin(), expected.end());
  for (const std::int64_t at : expected) {
    REQUIRE(!heap.empty());
    CHECK(heap.first().at_ns == at);
    heap.remove(heap.first());
  }
  CHECK(heap.empty());
}

TEST_CASE("a sleep, or a limit, that is longer than any clock goes is not over at once") {
  using namespace std::chrono;
  auto all = []() -> quoit::task<> {
    auto note = [](quoit::detail::sleep_operation sleep, bool& over) -> quoit::task<> {
      const auto slept = co_await sleep;
      over = slept.has_value();
    };
    std::array<bool, 6> over{};
    quoit::scope s;
    s.spawn(note(quoit::sleep_for(hours::max()), over[0]));
    s.spawn(note(quoit::sleep_for(nanoseconds::max()), over[1]));
    s.spawn(note(quoit::sleep_for(years::max()), over[2]));
    s.spawn(note(quoit::sleep_for(duration<double>(1e30)), over[3]));
    s.spawn(note(quoit::sleep_until(steady_clock::time_point::max()), over[4]));
    s.spawn(note(quoit::sleep_until(time_point<steady_clock, hours>::max()), over[5]));
    const auto slept = co_await quoit::sleep_for(5ms);
    CHECK(slept.has_value());
    CHECK(s.running() == over.size());
    s.request_stop();
    co_await s.join();
    CHECK(std::count(over.begin(), over.end(), true) == 0);
    const auto in_time = co_await quoit::timeout(hours::max(), quoit::sleep_for(1ms));
    CHECK(in_time.has_value());
  };
  quoit::sync_wait(all());
}
