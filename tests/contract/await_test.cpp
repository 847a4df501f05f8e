// co_await on topics, whichever way the messages go.
#include "contract/ways.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

using publisher = quoit::publisher<checked>;
using subscriber = quoit::subscriber<checked>;
constexpr quoit::wait strategies[] = {quoit::wait::adaptive, quoit::wait::spin, quoit::wait::block};

quoit::task<> publishes(publisher& pub, std::uint64_t count) {
  for (std::uint64_t n = 0; n < count; ++n) {
    auto loan = co_await pub.loan();
    if (!loan) co_return;
    **loan = checked::make(1, n);
    std::move(*loan).publish();
  }
}

quoit::task<> receives(subscriber& sub, std::uint64_t count, std::uint64_t& got) {
  while (got < count) {
    const auto sample = co_await sub.next();
    if (!sample || (*sample)->number != got || !(*sample)->intact()) co_return;
    ++got;
  }
}

quoit::task<> expects(subscriber& sub, errc& why) {
  const auto sample = co_await sub.next();
  if (!sample) why = sample.error().code();
}

quoit::task<> pauses_and_publishes(publisher& pub) {
  for (int n = 0; n < 20; ++n) {
    const auto slept = co_await quoit::sleep_for(1ms);
    if (!slept) co_return;
    static_cast<void>(pub.publish(checked::make(1, static_cast<std::uint64_t>(n))));
  }
}

}  // namespace

TEST_CASE("a loop publishes and receives more than fits on the way, however it waits") {
  const auto way = this_way();
  for (const quoit::wait how : strategies) {
    const meeting here(way);
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = here.open(ex);
    auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
    auto sub = bus.subscriber<checked>("t").value();
    std::uint64_t got = 0;
    ex.spawn(publishes(pub, 3000));
    ex.run(receives(sub, 3000, got));
    CHECK(got == 3000);
  }
}

TEST_CASE("a loop that sleeps is woken by a message, however it waits") {
  const auto way = this_way();
  for (const quoit::wait how : strategies) {
    const meeting here(way);
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = here.open(ex);
    auto pub = bus.publisher<checked>("t").value();
    auto sub = bus.subscriber<checked>("t").value();
    std::uint64_t got = 0;
    ex.spawn(pauses_and_publishes(pub));
    ex.run(receives(sub, 20, got));
    CHECK(got == 20);
  }
}

TEST_CASE("two processes go back and forth in their loops") {
  const meeting here(this_way());
  const auto side = [&](bool asks) {
    auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
    auto bus = here.open(ex);
    auto pub = bus.publisher<checked>(asks ? "there" : "back").value();
    auto sub = bus.subscriber<checked>(asks ? "back" : "there", {.start = quoit::start::earliest}).value();
    auto talk = [](publisher& p, subscriber& s, bool begins, int& done) -> quoit::task<> {
      const auto there = co_await p.matched(1);
      if (!there) co_return;
      for (std::uint64_t n = 0; n < 200; ++n) {
        if (begins) static_cast<void>(p.publish(checked::make(1, n)));
        const auto got = co_await s.next();
        if (!got || (*got)->number != n) co_return;
        if (!begins) static_cast<void>(p.publish(checked::make(1, n)));
        ++done;
      }
    };
    int done = 0;
    ex.run(talk(pub, sub, asks, done));
    // The other one still waits for the last answer.
    until([&] { return asks || pub.subscribers() == 0; });
    return done == 200 ? 0 : 1;
  };
  child other([&] { return side(false); });
  CHECK(side(true) == 0);
  CHECK(other.wait().status == 0);
}

TEST_CASE("a stop, a timeout and the end of a subscriber end a wait") {
  const auto way = this_way();
  for (const quoit::wait how : strategies) {
    const meeting here(way);
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = here.open(ex);
    auto pub = bus.publisher<checked>("t").value();
    auto sub = std::make_unique<subscriber>(bus.subscriber<checked>("t").value());
    errc stopped{}, closed{}, late{};
    auto all = [](std::unique_ptr<subscriber>& s, errc& a, errc& b, errc& c) -> quoit::task<> {
      {
        quoit::scope tasks;
        tasks.spawn(expects(*s, a));
        const auto slept = co_await quoit::sleep_for(3ms);
        static_cast<void>(slept);
        tasks.request_stop();
        co_await tasks.join();
      }
      const auto timed = co_await quoit::timeout(3ms, s->next());
      if (!timed) c = timed.error().code();
      quoit::scope tasks;
      tasks.spawn(expects(*s, b));
      const auto slept = co_await quoit::sleep_for(3ms);
      static_cast<void>(slept);
      s.reset();
      co_await tasks.join();
    };
    ex.run(all(sub, stopped, closed, late));
    CHECK(stopped == errc::cancelled);
    CHECK(closed == errc::closed);
    CHECK(late == errc::timed_out);
  }
}

TEST_CASE("an executor may go before the subscriber that waited in it") {
  const meeting here(this_way());
  auto ex = std::make_unique<quoit::executor>(quoit::executor::create({.wait = quoit::wait::block}).value());
  auto bus = here.open(*ex);
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  errc why{};
  ex->spawn(expects(sub, why));
  auto pause = []() -> quoit::task<> {
    const auto slept = co_await quoit::sleep_for(3ms);
    static_cast<void>(slept);
  };
  ex->run(pause());
  ex.reset();
  REQUIRE(pub.publish(checked::make(1, 0)));
  CHECK(sub.wait().value()->number == 0);
}

TEST_CASE("a flush is awaited, and ends with a stop") {
  const auto way = this_way();
  const meeting here(way);
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  auto bus = quoit::bus::open(ex, here.name(), here.options()).value();
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
  auto sub = bus.subscriber<checked>("t").value();
  std::uint64_t published = 0, got = 0;
  while (pub.publish_for(checked::make(1, published), 30ms)) ++published;
  errc stopped{};
  bool flushed = false;
  auto both = [](publisher& p, subscriber& s, std::uint64_t count, std::uint64_t& n, errc& why,
                 bool& done) -> quoit::task<> {
    const auto early = co_await quoit::timeout(5ms, p.flush());
    if (!early) why = early.error().code();
    quoit::scope tasks;
    tasks.spawn(receives(s, count, n));
    const auto all = co_await p.flush();
    done = all.has_value();
    co_await tasks.join();
  };
  ex.run(both(pub, sub, published, got, stopped, flushed));
  CHECK(stopped == (way == quoit::transport::kernel ? errc::timed_out : errc{}));
  CHECK(flushed);
  CHECK(got == published);
}
