// Publishers and subscribers that are killed at any moment, and others that must not notice.
#include <doctest/doctest.h>

#include <map>
#include <memory>
#include <random>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"
#include "support/storm.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

// Publishes until it is killed. Its id says whose messages are whose.
int publish_for_ever(const std::string& bus_name, std::uint64_t id, quoit::policy policy) {
  auto bus = quoit::bus::open(bus_name, {.recheck = 20ms});
  if (!bus) return 10;
  auto pub = bus->publisher<checked>("storm", {.policy = policy, .capacity_bytes = 16384});
  if (!pub) return pub.error().code() == errc::limit_reached ? 0 : 11;
  std::uint64_t n = 0;
  for (;;) {
    // Two loans at a time now and then, and some that are abandoned.
    auto first = pub->loan_for(20ms);
    if (!first) continue;
    if (n % 5 == 0) {
      if (auto second = pub->try_loan()) {
        **first = checked::make(id, n++);
        **second = checked::make(id, n++);
        std::move(*second).publish();
        std::move(*first).publish();
        continue;
      }
    }
    if (n % 7 == 3) {
      // Nothing of it may be seen.
      (*first)->sum = 1;
      auto dropped = std::move(*first);
      ++n;
      continue;
    }
    **first = checked::make(id, n++);
    std::move(*first).publish();
  }
}

// Checks what it receives until it is killed, or the storm is over. A fault ends it.
int subscribe_for_ever(const std::string& bus_name, const bool* over, std::uint64_t* received) {
  auto bus = quoit::bus::open(bus_name, {.recheck = 20ms});
  if (!bus) return 20;
  auto sub = bus->subscriber<checked>("storm", {.samples_max = 3});
  if (!sub) return sub.error().code() == errc::limit_reached ? 0 : 21;
  std::map<std::uint64_t, std::uint64_t> next;
  std::vector<quoit::sample<checked>> held;
  std::mt19937 random(static_cast<unsigned>(::getpid()));
  while (!__atomic_load_n(over, __ATOMIC_RELAXED)) {
    auto s = sub->wait(20ms);
    if (!s) {
      if (s.error() == errc::lagged) continue;
      if (s.error() == errc::timed_out || s.error() == errc::too_many_samples) {
        // Held for ever, they would hold the publishers for ever, and with them this loop.
        held.clear();
        continue;
      }
      std::fprintf(stderr, "subscriber: %s\n", s.error().message().c_str());
      return 22;
    }
    if (!(*s)->intact()) return 23;
    auto& expected = next[(*s)->publisher];
    if ((*s)->number < expected) return 24;  // twice, or out of order
    expected = (*s)->number + 1;
    __atomic_fetch_add(received, 1, __ATOMIC_RELAXED);
    for (const auto& h : held) {
      if (!h->intact()) return 25;
    }
    if (held.size() < 2 && random() % 8 == 0) {
      held.push_back(std::move(*s));
    } else if (random() % 8 == 0) {
      held.clear();
    }
  }
  return 0;
}

void kill_under(quoit::policy policy) {
  const bus_guard name;
  const std::string bus = name.name();
  kill_at_any_moment(
      {}, [&](std::uint64_t id) { return publish_for_ever(bus, id, policy); },
      [&](const bool* over, std::uint64_t* received) { return subscribe_for_ever(bus, over, received); });
  // All gone, most of them killed. The next process of the bus cleans up, and is the last one out.
  {
    auto last = quoit::bus::open(bus).value();
  }
  CHECK(name.files().empty());
}

}  // namespace

TEST_CASE("kills of publishers and subscribers under block") { kill_under(quoit::policy::block); }
TEST_CASE("kills of publishers and subscribers under overwrite") { kill_under(quoit::policy::overwrite); }
TEST_CASE("kills of publishers and subscribers under fail") { kill_under(quoit::policy::fail); }

TEST_CASE("processes that open and close the same topic are killed in the middle of it") {
  const bus_guard name;
  const std::string bus = name.name();
  const auto open_and_close = [&](int kind) {
    return std::make_unique<child>([&, kind] {
      for (;;) {
        auto b = quoit::bus::open(bus);
        if (!b) return b.error() == errc::busy ? 0 : 30;
        if (kind % 2 == 0) {
          auto p = b->publisher<checked>("t");
          // Whoever is between two instructions with lanes unread keeps them in the table.
          if (!p && p.error() == errc::limit_reached) continue;
          if (!p) return std::fprintf(stderr, "%s\n", p.error().message().c_str()), 31;
          if (!p->publish(checked::make(1, 1)) && false) return 32;
        } else {
          auto s = b->subscriber<checked>("t");
          if (!s) return std::fprintf(stderr, "%s\n", s.error().message().c_str()), 33;
          auto got = s->poll();
          if (!got && got.error() != errc::lagged) return 34;
          if (got && *got && !(*got)->intact()) return 35;
        }
      }
    });
  };
  std::vector<std::unique_ptr<child>> children;
  for (int i = 0; i < 4; ++i) children.push_back(open_and_close(i));
  std::mt19937 random(7);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(storm_seconds());
  int kills = 0;
  while (std::chrono::steady_clock::now() < end) {
    timespec pause{0, static_cast<long>(random() % 4'000'000)};
    ::nanosleep(&pause, nullptr);
    const std::size_t i = random() % children.size();
    children[i]->kill(SIGKILL);
    const ending how = children[i]->wait();
    CHECK_MESSAGE((how.signal == SIGKILL || how.status == 0), "status ", how.status, " signal ", how.signal);
    ++kills;
    children[i] = open_and_close(static_cast<int>(i));
  }
  MESSAGE(kills << " kills");
  CHECK(kills > 50);
  children.clear();
  {
    auto last = quoit::bus::open(bus).value();
  }
  CHECK(name.files().empty());
}

TEST_CASE("a stopped subscriber is not evicted, and a publisher under block waits for it") {
  const bus_guard name;
  const std::string bus_name = name.name();
  auto bus = quoit::bus::open(bus_name, {.recheck = 5ms}).value();
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = 8192}).value();
  child slow([&] {
    auto b = quoit::bus::open(bus_name).value();
    auto sub = b.subscriber<checked>("t").value();
    for (std::uint64_t n = 0; n < 2000; ++n) {
      auto s = sub.wait(60s);
      if (!s || (*s)->number != n || !(*s)->intact()) return 1;
    }
    return 0;
  });
  until([&] { return pub.subscribers() == 1; });
  std::uint64_t n = 0;
  for (; n < 100; ++n) REQUIRE(pub.publish_for(checked::make(0, n), 60s));
  slow.kill(SIGSTOP);
  // Full, and it stays so over many rechecks.
  while (auto loan = pub.loan_for(100ms)) {
    **loan = checked::make(0, n++);
    std::move(*loan).publish();
  }
  CHECK(pub.subscribers() == 1);
  slow.kill(SIGCONT);
  for (; n < 2000; ++n) REQUIRE(pub.publish_for(checked::make(0, n), 60s));
  CHECK(slow.wait().status == 0);
}

TEST_CASE("a publisher that waits for a subscriber that is killed goes on") {
  const bus_guard name;
  const std::string bus_name = name.name();
  auto bus = quoit::bus::open(bus_name, {.recheck = 5ms}).value();
  auto pub = bus.publisher<checked>("t").value();
  child idle([&] {
    auto b = quoit::bus::open(bus_name).value();
    auto sub = b.subscriber<checked>("t").value();
    for (;;) ::pause();
    return 0;
  });
  until([&] { return pub.subscribers() == 1; });
  while (pub.publish(checked::make(0, 0))) {
  }
  idle.kill(SIGKILL);
  idle.wait();
  CHECK(pub.loan_for(60s));
  CHECK(pub.subscribers() == 0);
}

TEST_CASE("a publisher that was killed is followed by one that goes on with its lane") {
  const bus_guard name;
  const std::string bus_name = name.name();
  auto bus = quoit::bus::open(bus_name).value();
  auto sub = bus.subscriber<checked>("t").value();
  child first([&] {
    auto b = quoit::bus::open(bus_name).value();
    auto pub = b.publisher<checked>("t").value();
    for (std::uint64_t n = 0; n < 10; ++n) {
      if (!pub.publish(checked::make(1, n))) return 1;
    }
    for (;;) ::pause();
    return 0;
  });
  quoit::publisher_id lane{};
  for (std::uint64_t n = 0; n < 10; ++n) {
    const auto s = sub.wait(60s).value();
    CHECK(s->number == n);
    lane = s.publisher();
  }
  first.kill(SIGKILL);
  first.wait();
  auto other = quoit::bus::open(bus_name).value();
  auto heir = other.publisher<checked>("t").value();
  CHECK(heir.sequence() == 10);
  REQUIRE(heir.publish(checked::make(2, 10)));
  const auto s = sub.wait(60s).value();
  CHECK(s->publisher == 2);
  CHECK(s.sequence() == 10);
  CHECK(s.publisher() == lane);
}
