// Opening in a loop that goes on meanwhile.
#include <doctest/doctest.h>

#include <optional>
#include <quoit.hpp>
#include <string>

#include "support/bus_guard.hpp"
#include "support/messages.hpp"
#include "topic/names.hpp"
#include "topic/topic.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

quoit::task<> ticking(int& ticks, bool& over) {
  while (!over) {
    static_cast<void>(co_await quoit::sleep_for(100us));
    ++ticks;
  }
}

// Holds the lock of a topic, as a process does that is opening something there.
quoit::detail::topic_lock lock_of(const std::shared_ptr<quoit::detail::node>& owner, const std::string& topic) {
  namespace detail = quoit::detail;
  auto opened = detail::topic::open_file(owner, detail::topic_file(owner->bus(), topic), 1s);
  return std::move(opened.value().lock);
}

}  // namespace

TEST_CASE("a bus, a publisher and a subscriber are opened with co_await, and exchange messages") {
  const bus_guard name;
  auto all = [](std::string bus_name) -> quoit::task<> {
    auto bus = co_await quoit::bus::open_async(bus_name, {.node_name = "async"});
    REQUIRE(bus.has_value());
    CHECK(bus->name() == bus_name);
    auto sub = co_await bus->subscriber_async<checked>("t", {.mode = quoit::mode::reliable});
    auto pub = co_await bus->publisher_async<checked>("t", {.stamped = true});
    REQUIRE(sub.has_value());
    REQUIRE(pub.has_value());
    CHECK(pub->publish(checked::make(1, 7)).has_value());
    const auto got = co_await sub->next();
    REQUIRE(got.has_value());
    CHECK((*got)->number == 7);
  };
  quoit::sync_wait(all(std::string(name.name())));
}

TEST_CASE("what goes wrong in opening with co_await is an error as otherwise") {
  const bus_guard name;
  auto all = [](std::string bus_name) -> quoit::task<> {
    const auto nameless = co_await quoit::bus::open_async("not a name");
    CHECK(nameless.error() == errc::invalid_name);
    auto bus = co_await quoit::bus::open_async(bus_name);
    REQUIRE(bus.has_value());
    auto sub = co_await bus->subscriber_async<checked>("t");
    REQUIRE(sub.has_value());
    const auto other = co_await bus->publisher_async<double>("t");
    CHECK(other.error() == errc::type_mismatch);
    const auto nobody = co_await bus->subscriber_async<checked>("//");
    CHECK(nobody.error() == errc::invalid_name);
    const auto large = co_await bus->publisher_async<checked>("t", {.capacity_bytes = std::uint64_t{1} << 40});
    CHECK(!large.has_value());
  };
  quoit::sync_wait(all(std::string(name.name())));
}

TEST_CASE("a loop goes on while a large lane is allocated, and the lane is the one that was asked for") {
  const bus_guard name;
  auto all = [](std::string bus_name) -> quoit::task<> {
    auto bus = co_await quoit::bus::open_async(bus_name);
    REQUIRE(bus.has_value());
    int ticks = 0;
    bool over = false;
    quoit::scope s;
    s.spawn(ticking(ticks, over));
    auto pub = co_await bus->publisher_async<checked>("t", {.capacity_bytes = 128 << 20});
    over = true;
    co_await s.join();
    REQUIRE(pub.has_value());
    CHECK(pub->capacity_bytes() == 128 << 20);
    CHECK(ticks > 0);
    // A topic that has other limits than were expected: the lane is made again, and nothing is left of the first.
    auto few = co_await bus->subscriber_async<checked>("few", {.limits = {.subscriptions_max = 3}});
    auto again = co_await bus->publisher_async<checked>("few", {.capacity_bytes = 4 << 20});
    REQUIRE(again.has_value());
    CHECK(again->capacity_bytes() == 4 << 20);
    CHECK(quoit::detail::list_shm(quoit::detail::bus_temporary_prefix(bus_name))->empty());
  };
  quoit::sync_wait(all(std::string(name.name())));
}

TEST_CASE("a lock that is held is waited for in the loop, and its holder may be in the same one") {
  const bus_guard name;
  auto owner = quoit::detail::node::open(name.name(), {}).value();
  auto bus = quoit::bus::open(name.name(), {.lock_timeout = 60s}).value();
  auto first = bus.subscriber<checked>("t").value();
  std::optional<quoit::detail::topic_lock> lock(lock_of(owner, "t"));
  auto all = [](quoit::bus& b, std::optional<quoit::detail::topic_lock>& held) -> quoit::task<> {
    auto release = [](std::optional<quoit::detail::topic_lock>& h) -> quoit::task<> {
      CHECK((co_await quoit::sleep_for(3ms)).has_value());
      h.reset();
    };
    quoit::scope s;
    s.spawn(release(held));
    const auto pub = co_await b.publisher_async<checked>("t");
    CHECK(pub.has_value());
    const auto sub = co_await b.subscriber_async<checked>("t");
    CHECK(sub.has_value());
    co_await s.join();
  };
  quoit::sync_wait(all(bus, lock));
}

TEST_CASE("a lock that stays held is busy after lock_timeout, and a stop ends the wait for it") {
  const bus_guard name;
  auto owner = quoit::detail::node::open(name.name(), {}).value();
  auto hasty = quoit::bus::open(name.name(), {.lock_timeout = 5ms}).value();
  auto patient = quoit::bus::open(name.name(), {.lock_timeout = 1h}).value();
  auto first = hasty.subscriber<checked>("t").value();
  {
    const auto lock = lock_of(owner, "t");
    auto busy = [](quoit::bus& b) -> quoit::task<> {
      CHECK((co_await b.publisher_async<checked>("t")).error() == errc::busy);
      CHECK((co_await b.subscriber_async<checked>("t")).error() == errc::busy);
    };
    quoit::sync_wait(busy(hasty));
    auto stops = [](quoit::bus& b) -> quoit::task<> {
      errc why{};
      auto opens = [](quoit::bus& in, errc& w) -> quoit::task<> {
        const auto pub = co_await in.publisher_async<checked>("t", {.capacity_bytes = 2 << 20});
        w = pub ? errc{} : pub.error().code();
      };
      quoit::scope s;
      s.spawn(opens(b, why));
      CHECK((co_await quoit::sleep_for(20ms)).has_value());
      s.request_stop();
      co_await s.join();
      CHECK(why == errc::cancelled);
    };
    quoit::sync_wait(stops(patient));
  }
  CHECK(quoit::detail::list_shm(quoit::detail::bus_temporary_prefix(std::string(name.name())))->empty());
}
