// Stops, timeouts, and turns, of coroutines that wait for a bus.
#include <doctest/doctest.h>

#include <quoit.hpp>
#include <string>
#include <thread>

#include "support/bus_guard.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::policy;
using publisher = quoit::publisher<checked>;
using subscriber = quoit::subscriber<checked>;

namespace {

constexpr quoit::wait strategies[] = {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin};

quoit::task<bool> takes_one(subscriber& sub) {
  const auto s = co_await sub.next();
  co_return s && (*s)->intact() && (*s)->number == 0;
}

}  // namespace

TEST_CASE("a stop ends a wait for a message, before it begins and in its course, and comes before a message") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  auto all = [](publisher& p, subscriber& s, bool before) -> quoit::task<> {
    quoit::scope tasks;
    bool cancelled = false;
    auto waits = [](subscriber& in, bool& c) -> quoit::task<> {
      const auto got = co_await in.next();
      c = !got && got.error() == errc::cancelled;
    };
    if (before) {
      CHECK(p.publish(checked::make(1, 0)).has_value());
      tasks.request_stop();
    }
    tasks.spawn(waits(s, cancelled));
    CHECK((co_await quoit::sleep_for(2ms)).has_value());
    tasks.request_stop();
    co_await tasks.join();
    CHECK(cancelled);
  };
  quoit::executor ex = quoit::executor::create().value();
  ex.run(all(pub, sub, false));
  ex.run(all(pub, sub, true));
  // What the stop was before is still there.
  CHECK(ex.run(takes_one(sub)));
}

TEST_CASE("a timeout ends a wait for a message and loses none") {
  const bus_guard name;
  auto ex = quoit::executor::create().value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  auto all = [](publisher& p, subscriber& s) -> quoit::task<> {
    const auto late = co_await quoit::timeout(1ms, s.next());
    CHECK(late.error() == errc::timed_out);
    CHECK(p.publish(checked::make(1, 0)).has_value());
    const auto now = co_await quoit::timeout(60s, s.next());
    CHECK((*now)->number == 0);
  };
  ex.run(all(pub, sub));
}

TEST_CASE("a coroutine that always finds a message, or space, keeps no timer, no stop and no other task waiting") {
  for (const auto how : strategies) {
    const bus_guard name;
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = quoit::bus::open(ex, name.name()).value();
    auto pub = bus.publisher<checked>("t").value();
    auto sub = bus.subscriber<checked>("t").value();
    constexpr std::uint64_t many = 5'000'000;
    // Until the flag is set, or the stop comes.
    auto busy = [](publisher& p, subscriber& s, const bool& enough) -> quoit::task<std::uint64_t> {
      std::uint64_t n = 0;
      for (; n < many && !enough; ++n) {
        auto loan = co_await p.loan();
        if (!loan) break;
        std::move(*loan).publish();
        const auto got = co_await s.next();
        if (!got) break;
      }
      co_return n;
    };
    auto sets_later = [](bool& flag) -> quoit::task<> { flag = (co_await quoit::sleep_for(1ms)).has_value(); };
    auto sets = [](bool& flag) -> quoit::task<> {
      flag = true;
      co_return;
    };
    auto stops = [](quoit::executor& e) -> quoit::task<> {
      e.request_stop();
      co_return;
    };
    bool timer = false;
    ex.spawn(sets_later(timer));
    CHECK(ex.run(busy(pub, sub, timer)) < many);
    bool other = false;
    ex.spawn(sets(other));
    CHECK(ex.run(busy(pub, sub, other)) < many);
    const bool never = false;
    ex.spawn(stops(ex));
    CHECK(ex.run(busy(pub, sub, never)) < many);
  }
}

TEST_CASE("a message that is there is taken before a timeout that is over already, however many tasks are ready") {
  const bus_guard name;
  for (const auto how : strategies) {
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = quoit::bus::open(ex, name.name()).value();
    auto pub = bus.publisher<checked>("t").value();
    auto sub = bus.subscriber<checked>("t").value();
    // More than a turn resumes, so that timers are looked at between two turns of a task.
    auto busy = [](const bool& over) -> quoit::task<> {
      while (!over) co_await quoit::this_task::yield();
    };
    auto all = [](auto make, publisher& p, subscriber& s) -> quoit::task<> {
      quoit::scope tasks;
      bool over = false;
      for (int i = 0; i < 700; ++i) tasks.spawn(make(over));
      for (std::uint64_t n = 0; n < 200; ++n) {
        CHECK(p.publish(checked::make(1, n)));
        const auto got = co_await quoit::timeout(0ns, s.next());
        CHECK((got && (*got)->number == n));
      }
      const auto nothing = co_await quoit::timeout(0ns, s.next());
      CHECK((!nothing && nothing.error() == errc::timed_out));
      over = true;
      co_await tasks.join();
    };
    ex.run(all(busy, pub, sub));
  }
}
