// The bus in the loop of an executor.
#include <doctest/doctest.h>

#include <quoit.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::policy;
using publisher = quoit::publisher<checked>;
using subscriber = quoit::subscriber<checked>;

namespace {

constexpr quoit::wait strategies[] = {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin};

// Takes n messages; false if one was not whole, or out of order.
quoit::task<bool> takes(subscriber& sub, std::uint64_t n) {
  for (std::uint64_t i = 0; i < n; ++i) {
    const auto s = co_await sub.next();
    if (!s || !(*s)->intact() || (*s)->number != i) co_return false;
  }
  co_return true;
}

}  // namespace

TEST_CASE("a message that is there is taken without waiting, and one that comes later wakes whoever waits") {
  for (const auto how : strategies) {
    const bus_guard name;
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = quoit::bus::open(ex, name.name()).value();
    auto sub = bus.subscriber<checked>("t").value();
    auto theirs = quoit::bus::open(name.name()).value();
    auto pub = theirs.publisher<checked>("t").value();
    REQUIRE(pub.publish(checked::make(1, 0)));
    CHECK(ex.run(takes(sub, 1)));
    std::thread later([&] {
      for (std::uint64_t n = 0; n < 5; ++n) {
        std::this_thread::sleep_for(3ms);
        CHECK(pub.publish(checked::make(1, n)));
      }
    });
    CHECK(ex.run(takes(sub, 5)));
    later.join();
    if (how == quoit::wait::block) CHECK(pub.wakes() > 0);
    if (how == quoit::wait::spin) CHECK(pub.wakes() == 0);
  }
}

TEST_CASE("two processes exchange messages through co_await, however they wait") {
  for (const auto how : strategies) {
    const bus_guard name;
    // Where others have the processors, each side that spins does so to the end of its time slice.
    const std::uint64_t n = how == quoit::wait::spin ? 500 : fast() || under_tsan ? 2'000 : 10'000;
    const auto answers = [&] {
      auto ex = quoit::executor::create({.wait = how}).value();
      auto bus = quoit::bus::open(ex, name.name()).value();
      auto sub = bus.subscriber<checked>("ask", {.start = quoit::start::earliest}).value();
      auto pub = bus.publisher<checked>("answer").value();
      auto all = [](subscriber& s, publisher& p, std::uint64_t count) -> quoit::task<int> {
        CHECK((co_await p.matched(1)).has_value());
        for (std::uint64_t i = 0; i < count; ++i) {
          const auto asked = co_await s.next();
          if (!asked) co_return 1;
          auto loan = co_await p.loan();
          if (!loan) co_return 2;
          **loan = **asked;
          std::move(*loan).publish();
        }
        // Until the last answer was taken: who leaves first takes nothing with it.
        co_return 0;
      };
      return ex.run(all(sub, pub, n));
    };
    child other(answers);
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = quoit::bus::open(ex, name.name()).value();
    auto pub = bus.publisher<checked>("ask").value();
    auto sub = bus.subscriber<checked>("answer", {.start = quoit::start::earliest}).value();
    auto all = [](publisher& p, subscriber& s, std::uint64_t count) -> quoit::task<bool> {
      if (!co_await p.matched(1)) co_return false;
      for (std::uint64_t i = 0; i < count; ++i) {
        if (!p.publish(checked::make(3, i))) co_return false;
        const auto answer = co_await s.next();
        if (!answer || (*answer)->number != i || !(*answer)->intact()) co_return false;
      }
      co_return true;
    };
    auto guarded = [](auto make, publisher& p, subscriber& s, std::uint64_t count) -> quoit::task<bool> {
      const bool ok = co_await make(p, s, count);
      co_return ok;
    };
    CHECK(ex.run(guarded(all, pub, sub, n)));
    CHECK(other.wait().status == 0);
  }
}

namespace {

quoit::task<> takes_one(subscriber& sub, int& taken) {
  const auto got = co_await sub.next();
  if (got) ++taken;
}
quoit::task<> takes_loan(publisher& pub, int& taken) {
  const auto loan = co_await pub.loan();
  if (loan) ++taken;
}
quoit::task<> yields(int n) {
  for (int i = 0; i < n; ++i) co_await quoit::this_task::yield();
}
int drain(subscriber& sub) {
  int n = 0;
  for (;; ++n) {
    const auto got = sub.poll();
    CHECK(got.has_value());
    if (!got || !*got) return n;
  }
}

}  // namespace

// The loop makes it ready at the end of a turn, and one of these numbers of yields is where the next turn begins with
// the end of the scope.
TEST_CASE("a message that its task does not live to take is given back") {
  const bus_guard name;
  auto ex = quoit::executor::create({.wait = quoit::wait::spin}).value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t", {.mode = quoit::mode::reliable, .samples_max = 1}).value();
  auto all = [](publisher& p, subscriber& s) -> quoit::task<> {
    int published = 0, taken = 0, left = 0;
    for (int n = 0; n < 600; ++n) {
      {
        quoit::scope tasks;
        tasks.spawn(takes_one(s, taken));
        co_await yields(1);
        CHECK(p.publish(checked::make(1, 0)).has_value());
        ++published;
        co_await yields(n);
      }
      left += drain(s);
    }
    CHECK(taken > 0);
    CHECK(left > 0);
    CHECK(taken + left < published);
  };
  ex.run(all(pub, sub));
}

TEST_CASE("a loan that its task does not live to take is abandoned") {
  const bus_guard name;
  auto ex = quoit::executor::create({.wait = quoit::wait::spin}).value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096, .loans_max = 1}).value();
  auto sub = bus.subscriber<checked>("t", {.mode = quoit::mode::reliable}).value();
  auto all = [](publisher& p, subscriber& s) -> quoit::task<> {
    int taken = 0;
    for (int n = 0; n < 600; ++n) {
      while (p.publish(checked::make(1, 0))) {
      }
      {
        quoit::scope tasks;
        tasks.spawn(takes_loan(p, taken));
        co_await yields(1);
        CHECK(tasks.running() == 1);
        CHECK(drain(s) > 0);
        co_await yields(n);
      }
      CHECK(p.publish(checked::make(1, 0)).has_value());
      CHECK(drain(s) == 1);
    }
    CHECK(taken > 0);
  };
  ex.run(all(pub, sub));
}

TEST_CASE("a subscriber is awaited by one coroutine at a time, in one executor, and answers closed when it goes") {
  const bus_guard name;
  auto ex = quoit::executor::create().value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = std::make_unique<subscriber>(bus.subscriber<checked>("t").value());
  auto all = [](std::unique_ptr<subscriber>& s) -> quoit::task<> {
    errc first{};
    auto waits = [](subscriber& in, errc& e) -> quoit::task<> {
      const auto got = co_await in.next();
      e = got ? errc{} : got.error().code();
    };
    quoit::scope tasks;
    tasks.spawn(waits(*s, first));
    CHECK((co_await quoit::sleep_for(1ms)).has_value());
    const auto second = co_await s->next();
    CHECK(second.error() == errc::busy);
    s.reset();
    co_await tasks.join();
    CHECK(first == errc::closed);
  };
  ex.run(all(sub));
  auto again = bus.subscriber<checked>("t").value();
  auto elsewhere = [](subscriber& s) -> quoit::task<> {
    const auto got = co_await s.next();
    CHECK(got.error() == errc::wrong_thread);
  };
  std::thread([&] { quoit::sync_wait(elsewhere(again)); }).join();
}

TEST_CASE("an executor that goes leaves a bus that another one may await") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  {
    auto ex = quoit::executor::create().value();
    auto waits = [](subscriber& in) -> quoit::task<> { static_cast<void>(co_await in.next()); };
    ex.spawn(waits(sub));
    auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(2ms)); };
    ex.run(a_while());
  }
  REQUIRE(pub.publish(checked::make(1, 0)));
  CHECK(quoit::sync_wait(takes(sub, 1)));
}

TEST_CASE("a bus and its executor may go on another thread than the one that ran them") {
  const bus_guard name;
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto sub = bus.subscriber<checked>("t").value();
  std::thread([&] {
    auto waits = [](subscriber& in) -> quoit::task<> { static_cast<void>(co_await in.next()); };
    ex.spawn(waits(sub));
    auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(2ms)); };
    ex.run(a_while());
  }).join();
  CHECK(ex.sleeps() > 0);
}

TEST_CASE("co_await loan waits for space, and a stop ends that") {
  for (const auto how : strategies) {
    const bus_guard name;
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = quoit::bus::open(ex, name.name()).value();
    auto theirs = quoit::bus::open(name.name()).value();
    auto sub = theirs.subscriber<checked>("t", {.mode = quoit::mode::reliable}).value();
    auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
    constexpr std::uint64_t n = 500;
    auto fills = [](publisher& p) -> quoit::task<bool> {
      for (std::uint64_t i = 0; i < n; ++i) {
        auto loan = co_await p.loan();
        if (!loan) co_return false;
        **loan = checked::make(1, i);
        std::move(*loan).publish();
      }
      co_return true;
    };
    std::thread reads([&] {
      for (std::uint64_t i = 0; i < n; ++i) {
        if (i % 50 == 0) std::this_thread::sleep_for(1ms);
        const auto s = sub.wait(60s);
        CHECK((*s)->number == i);
      }
    });
    CHECK(ex.run(fills(pub)));
    reads.join();
    // Nobody reads any more.
    auto stops = [](publisher& p) -> quoit::task<> {
      while (p.publish(checked::make(1, 0))) {
      }
      quoit::scope tasks;
      bool cancelled = false;
      auto waits = [](publisher& in, bool& c) -> quoit::task<> {
        const auto loan = co_await in.loan();
        c = !loan && loan.error() == errc::cancelled;
      };
      tasks.spawn(waits(p, cancelled));
      CHECK((co_await quoit::sleep_for(2ms)).has_value());
      CHECK(tasks.running() == 1);
      tasks.request_stop();
      co_await tasks.join();
      CHECK(cancelled);
    };
    ex.run(stops(pub));
  }
}

TEST_CASE("a publisher that goes while somebody waits for its space answers closed, though its executor goes later") {
  const bus_guard name;
  auto ex = quoit::executor::create().value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto sub = bus.subscriber<checked>("t", {.mode = quoit::mode::reliable}).value();
  auto fill = [](publisher& p) {
    while (p.publish(checked::make(1, 0))) {
    }
  };
  auto waits = [](publisher& in, errc& e) -> quoit::task<> {
    const auto loan = co_await in.loan();
    e = loan ? errc{} : loan.error().code();
  };
  errc first{}, second{}, never = errc::busy;
  auto all = [](publisher& p, std::unique_ptr<publisher>& q, quoit::task<> (*make)(publisher&, errc&), errc& a,
                errc& b) -> quoit::task<> {
    quoit::scope tasks;
    tasks.spawn(make(*q, a));
    tasks.spawn(make(*q, b));
    CHECK((co_await quoit::sleep_for(1ms)).has_value());
    CHECK(tasks.running() == 2);
    q.reset();
    co_await tasks.join();
    static_cast<void>(p);
  };
  {
    auto left = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
    auto going = std::make_unique<publisher>(bus.publisher<checked>("t", {.capacity_bytes = 4096}).value());
    fill(left);
    fill(*going);
    ex.spawn(waits(left, never));
    ex.run(all(left, going, waits, first, second));
    CHECK(first == errc::closed);
    CHECK(second == errc::closed);
  }
  // The one that still waited is told in the next run.
  ex.run();
  CHECK(never == errc::closed);
}

TEST_CASE("under policy fail co_await loan answers at once, and so it does where loans of one's own are in the way") {
  const bus_guard name;
  auto ex = quoit::executor::create().value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto sub = bus.subscriber<checked>("t", {.mode = quoit::mode::reliable}).value();
  auto pub = bus.publisher<checked>("t", {.policy = policy::fail, .capacity_bytes = 4096}).value();
  auto all = [](publisher& p) -> quoit::task<> {
    for (;;) {
      auto loan = co_await p.loan();
      if (!loan) {
        CHECK(loan.error() == errc::would_block);
        break;
      }
      std::move(*loan).publish();
    }
  };
  ex.run(all(pub));
}

TEST_CASE("batches, strings and several subscribers are awaited in one loop") {
  const bus_guard name;
  auto ex = quoit::executor::create().value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto numbers = bus.publisher<checked>("numbers").value();
  auto words = bus.publisher<quoit::text>("words").value();
  auto number_sub = bus.subscriber<checked>("numbers").value();
  auto word_sub = bus.subscriber<quoit::text>("words").value();
  auto in_batches = [](subscriber& s, std::uint64_t& sum) -> quoit::task<> {
    std::uint64_t next = 0;
    while (next < 1000) {
      auto batch = co_await s.next_batch();
      if (!batch) co_return;
      for (const checked& m : *batch) {
        CHECK(m.number == next);
        ++next;
        sum += m.number;
      }
    }
  };
  auto collects = [](quoit::subscriber<quoit::text>& s, std::string& all) -> quoit::task<> {
    while (all.size() < 30) {
      const auto w = co_await s.next();
      if (!w) co_return;
      all += **w;
    }
  };
  auto publishes = [](publisher& p, quoit::publisher<quoit::text>& w) -> quoit::task<> {
    for (std::uint64_t i = 0; i < 1000; ++i) {
      CHECK(p.publish(checked::make(1, i)).has_value());
      if (i % 100 == 0) {
        CHECK(w.publish("abc").has_value());
        CHECK((co_await quoit::sleep_for(100us)).has_value());
      }
    }
  };
  std::uint64_t sum = 0;
  std::string all;
  ex.spawn(in_batches(number_sub, sum));
  ex.spawn(collects(word_sub, all));
  ex.run(publishes(numbers, words));
  ex.run();
  CHECK(sum == 499'500);
  CHECK(all.size() == 30);
}

TEST_CASE("two thousand topics are awaited, and each message finds its coroutine") {
  const bus_guard name;
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto theirs = quoit::bus::open(name.name()).value();
  const std::size_t topics = fast() || under_tsan ? 200 : 2000;
  const quoit::topic_limits few{.publishers_max = 2, .subscriptions_max = 2};
  std::vector<quoit::publisher<std::uint64_t>> pubs;
  std::vector<quoit::subscriber<std::uint64_t>> subs;
  for (std::size_t i = 0; i < topics; ++i) {
    const std::string topic = "t" + std::to_string(i);
    subs.push_back(bus.subscriber<std::uint64_t>(topic, {.limits = few}).value());
    pubs.push_back(
        theirs.publisher<std::uint64_t>(topic, {.capacity_bytes = 4096, .strides = 8, .limits = few}).value());
  }
  std::size_t right = 0;
  auto waits = [](quoit::subscriber<std::uint64_t>& s, std::uint64_t expected, std::size_t& r) -> quoit::task<> {
    for (int i = 0; i < 3; ++i) {
      const auto got = co_await s.next();
      if (got && **got == expected) ++r;
    }
  };
  for (std::size_t i = 0; i < topics; ++i) ex.spawn(waits(subs[i], i, right));
  std::thread publishes([&] {
    for (int round = 0; round < 3; ++round) {
      std::this_thread::sleep_for(5ms);
      for (std::size_t i = 0; i < topics; ++i)
        CHECK(pubs[(i * 7919) % topics].publish((i * 7919) % topics).has_value());
    }
  });
  ex.run();
  publishes.join();
  CHECK(right == 3 * topics);
}

TEST_CASE("a message that a loan of a dead process hides is received, however the loop waits") {
  for (const auto how : strategies) {
    const bus_guard name;
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = quoit::bus::open(ex, name.name(), {.recheck = 5ms}).value();
    auto sub = bus.subscriber<checked>("t").value();
    child dies([&] {
      auto theirs = quoit::bus::open(name.name()).value();
      auto pub = theirs.publisher<checked>("t").value();
      auto open = pub.try_loan().value();
      if (!pub.publish(checked::make(1, 0))) return 1;
      ::kill(::getpid(), SIGKILL);
      return 2;
    });
    CHECK(dies.wait().signal == SIGKILL);
    CHECK(ex.run(takes(sub, 1)));
  }
}

TEST_CASE("a wait of the thread itself takes no wake from the coroutines of its bus") {
  const bus_guard name;
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  // Without a recheck there is nothing but the wake.
  auto bus = quoit::bus::open(ex, name.name(), {.recheck = 1h}).value();
  auto theirs = quoit::bus::open(name.name()).value();
  auto pub = theirs.publisher<checked>("awaited").value();
  auto other = theirs.publisher<checked>("waited").value();
  auto sub = bus.subscriber<checked>("awaited").value();
  auto mine = bus.subscriber<checked>("waited").value();
  auto all = [](publisher& p, publisher& q, subscriber& awaited, subscriber& waited) -> quoit::task<> {
    quoit::scope tasks;
    int taken = 0;
    tasks.spawn(takes_one(awaited, taken));
    // Asleep in between: it is armed.
    CHECK((co_await quoit::sleep_for(2ms)).has_value());
    std::thread later([&] {
      std::this_thread::sleep_for(2ms);
      CHECK(p.publish(checked::make(1, 0)).has_value());
      std::this_thread::sleep_for(2ms);
      CHECK(q.publish(checked::make(1, 0)).has_value());
    });
    CHECK(waited.wait(1h).has_value());
    later.join();
    co_await tasks.join();
    CHECK(taken == 1);
  };
  for (int i = 0; i < 5; ++i) {
    ex.run(all(pub, other, sub, mine));
    // And between two runs.
    std::thread later([&] {
      std::this_thread::sleep_for(2ms);
      CHECK(other.publish(checked::make(1, 0)).has_value());
    });
    CHECK(mine.wait(1h).has_value());
    later.join();
  }
}

TEST_CASE("an observer is awaited too") {
  const bus_guard name;
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  auto bus = quoit::bus::open(ex, name.name()).value();
  auto theirs = quoit::bus::open(name.name()).value();
  auto pub = theirs.publisher<checked>("t").value();
  auto seen = bus.subscriber<checked>("t", {.mode = quoit::mode::observer}).value();
  std::thread later([&] {
    for (std::uint64_t n = 0; n < 3; ++n) {
      std::this_thread::sleep_for(3ms);
      CHECK(pub.publish(checked::make(1, n)));
    }
  });
  CHECK(ex.run(takes(seen, 3)));
  later.join();
}
