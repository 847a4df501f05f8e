// Mode observer: a subscriber that nobody notices.
#include <doctest/doctest.h>

#include <quoit.hpp>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::mode;
using quoit::policy;

TEST_CASE("an observer makes no topic, and checks the type of the one that is there") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  const auto none = bus.subscriber<checked>("t", {.mode = mode::observer});
  REQUIRE(!none);
  CHECK(none.error() == errc::not_found);
  CHECK(none.error().message().find("makes none") != std::string::npos);
  auto pub = bus.publisher<checked>("t").value();
  CHECK(bus.subscriber<std::uint64_t>("t", {.mode = mode::observer}).error() == errc::type_mismatch);
  CHECK(bus.subscriber<checked>("bad name", {.mode = mode::observer}).error() == errc::invalid_name);
}

TEST_CASE("an observer is not listed, and no publisher waits for it") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  for (const policy how : {policy::block, policy::fail, policy::overwrite}) {
    auto pub = bus.publisher<checked>("t", {.policy = how, .capacity_bytes = 4096}).value();
    auto seen = bus.subscriber<checked>("t", {.mode = mode::observer}).value();
    CHECK(pub.subscribers() == 0);
    const auto info = quoit::inspect(name.name()).value();
    REQUIRE(info.topics.size() == 1);
    CHECK(info.topics[0].subscriptions.empty());
    for (std::uint64_t n = 0; n < 1000; ++n) REQUIRE(pub.publish(checked::make(1, n)));
    const auto late = seen.poll();
    REQUIRE(!late);
    CHECK(late.error() == errc::lagged);
    std::uint64_t next = late.error().value();
    for (auto s = seen.poll().value(); s; s = seen.poll().value()) {
      CHECK(s->intact());
      CHECK(s->number == next++);
    }
    CHECK(next == 1000);
    CHECK(seen.lost() == late.error().value());
  }
}

TEST_CASE("an observer's samples are copies: held ones keep their bytes, and nobody waits for them") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
  auto seen = bus.subscriber<checked>("t", {.mode = mode::observer, .samples_max = 2}).value();
  REQUIRE(pub.publish(checked::make(1, 0)));
  REQUIRE(pub.publish(checked::make(1, 1)));
  auto first = seen.poll().value();
  const auto second = seen.poll().value();
  REQUIRE(first);
  REQUIRE(second);
  REQUIRE(pub.publish(checked::make(1, 2)));
  CHECK(seen.poll().error() == errc::too_many_samples);
  for (std::uint64_t n = 3; n < 500; ++n) REQUIRE(pub.publish(checked::make(1, n)));
  CHECK(first->intact());
  CHECK(first->number == 0);
  CHECK(second->number == 1);
  first.release();
  CHECK(seen.poll().error() == errc::lagged);
}

TEST_CASE("an observer starts where it is told, and follows publishers that come and go") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto kept = bus.subscriber<quoit::text>("t").value();
  auto first = bus.publisher<quoit::text>("t").value();
  REQUIRE(first.publish("a"));
  REQUIRE(first.publish("b"));
  auto from_end = bus.subscriber<quoit::text>("t", {.mode = mode::observer}).value();
  auto from_last = bus.subscriber<quoit::text>("t", {.mode = mode::observer, .start = quoit::start::last(1)}).value();
  auto all = bus.subscriber<quoit::text>("t", {.mode = mode::observer, .start = quoit::start::earliest}).value();
  const auto take = [](auto& sub) {
    std::string words;
    for (auto s = sub.poll().value(); s; s = sub.poll().value()) words += *s;
    return words;
  };
  CHECK(take(from_end).empty());
  CHECK(take(from_last) == "b");
  CHECK(take(all) == "ab");
  {
    auto second = bus.publisher<quoit::text>("t").value();
    REQUIRE(second.publish("c"));
    REQUIRE(second.publish("d"));
  }
  // Its lane is closed by now, and somebody still has it to read.
  CHECK(take(from_end) == "cd");
  CHECK(take(all) == "cd");
  CHECK(take(kept).size() == 4);
  {
    auto gone = std::move(first);
  }
  CHECK(take(all).empty());
  auto third = bus.publisher<quoit::text>("t").value();
  REQUIRE(third.publish("e"));
  CHECK(take(all) == "e");
  CHECK(take(from_end) == "e");
}

TEST_CASE("an observer waits, and a batch of its is one message") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto seen = bus.subscriber<checked>("t", {.mode = mode::observer}).value();
  CHECK(seen.wait(5ms).error() == errc::timed_out);
  auto theirs = quoit::bus::open(name.name()).value();
  auto other = theirs.publisher<checked>("t").value();
  std::thread later([&] {
    std::this_thread::sleep_for(20ms);
    for (std::uint64_t n = 0; n < 3; ++n) CHECK(other.publish(checked::make(2, n)));
  });
  CHECK(seen.wait(60s).value()->number == 0);
  later.join();
  std::uint64_t next = 1;
  for (int i = 0; i < 2; ++i) {
    auto batch = seen.poll_batch().value();
    for (const checked& m : batch) CHECK(m.number == next++);
  }
  CHECK(next == 3);
  // No publisher made a call to wake it.
  CHECK(pub.wakes() + other.wakes() == 0);
}

TEST_CASE("an observer keeps no topic alive") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = std::make_unique<quoit::publisher<checked>>(bus.publisher<checked>("t").value());
  auto seen = bus.subscriber<checked>("t", {.mode = mode::observer}).value();
  REQUIRE(pub->publish(checked::make(1, 5)));
  pub.reset();
  CHECK(quoit::inspect(name.name()).value().topics.empty());
  // What it had mapped it may still read.
  CHECK(seen.poll().value()->number == 5);
  CHECK(!seen.poll().value());
}
