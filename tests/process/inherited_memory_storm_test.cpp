// Processes of a bus in inherited memory that are killed at any moment, and others that must not notice.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"
#include "support/storm.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::inherited_memory;

namespace {

// Publishes on a few topics until it is killed, and opens and closes them meanwhile.
int publish_for_ever(const inherited_memory& memory, std::uint64_t id, quoit::policy policy) {
  auto bus = quoit::bus::open(memory, {.recheck = 20ms});
  if (!bus) return bus.error() == errc::busy ? 0 : (std::fprintf(stderr, "%s\n", bus.error().message().c_str()), 10);
  std::uint64_t n = 0;
  std::mt19937 random(static_cast<unsigned>(id));
  for (;;) {
    const std::uint64_t capacity = random() % 2 == 0 ? 16384 : 65536;
    auto pub = bus->publisher<checked>("storm", {.policy = policy, .capacity_bytes = capacity});
    if (!pub && pub.error() == errc::limit_reached) continue;
    if (!pub) return std::fprintf(stderr, "publisher: %s\n", pub.error().message().c_str()), 11;
    auto side = bus->publisher<checked>("side" + std::to_string(random() % 3));
    for (int i = 0; i < 200; ++i) {
      auto loan = pub->loan_for(20ms);
      if (!loan) continue;
      **loan = checked::make(id, n++);
      std::move(*loan).publish();
    }
  }
}

int subscribe_for_ever(const inherited_memory& memory, const bool* over, std::uint64_t* received) {
  auto bus = quoit::bus::open(memory, {.recheck = 20ms});
  if (!bus) return bus.error() == errc::busy ? 0 : (std::fprintf(stderr, "%s\n", bus.error().message().c_str()), 20);
  auto sub = bus->subscriber<checked>("storm", {.samples_max = 3});
  if (!sub) {
    if (sub.error() == errc::limit_reached) return 0;
    return std::fprintf(stderr, "subscriber: %s\n", sub.error().message().c_str()), 21;
  }
  // By lane: a publisher here has several, one after the other.
  std::map<std::array<std::uint64_t, 2>, std::uint64_t> next;
  while (!__atomic_load_n(over, __ATOMIC_RELAXED)) {
    auto s = sub->wait(20ms);
    if (!s) {
      if (s.error() == errc::lagged || s.error() == errc::timed_out) continue;
      std::fprintf(stderr, "subscriber: %s\n", s.error().message().c_str());
      return 22;
    }
    if (!(*s)->intact()) return 23;
    const auto lane = s->publisher();
    std::array<std::uint64_t, 2> key{};
    static_assert(sizeof key == sizeof lane);
    std::memcpy(&key, &lane, sizeof key);
    auto& expected = next[key];
    if (s->sequence() < expected) return 24;  // twice, or out of order
    expected = s->sequence() + 1;
    __atomic_fetch_add(received, 1, __ATOMIC_RELAXED);
  }
  return 0;
}

void kill_under(quoit::policy policy, bool sealed) {
  const auto memory = inherited_memory::create({.bytes = 64 << 20, .sealed = sealed}).value();
  const auto free_before = memory.free_bytes();
  // Not stopped: whoever is while it has the lock of the memory keeps the others from opening anything.
  kill_at_any_moment(
      {.seconds_at_most = 6, .stops_some = false},
      [&](std::uint64_t id) { return publish_for_ever(memory, id, policy); },
      [&](const bool* over, std::uint64_t* received) { return subscribe_for_ever(memory, over, received); });
  // All gone, most of them killed. The next process of the bus cleans up, and is the last one out.
  {
    auto bus = quoit::bus::open(memory).value();
  }
  CHECK(memory.free_bytes() == free_before);
}

}  // namespace

TEST_CASE("kills of publishers and subscribers under block, in inherited memory") {
  kill_under(quoit::policy::block, false);
}
TEST_CASE("kills of publishers and subscribers under overwrite, in inherited memory") {
  kill_under(quoit::policy::overwrite, false);
}
TEST_CASE("kills of publishers and subscribers under block, in sealed memory") {
  kill_under(quoit::policy::block, true);
}

TEST_CASE("a process of many threads forks at any moment, and what each child inherited is whole") {
  const auto memory = inherited_memory::create({.bytes = 64 << 20}).value();
  const auto free_before = memory.free_bytes();
  {
    std::atomic<bool> over{false};
    std::atomic<bool> fine{true};
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        while (!over) {
          auto bus = quoit::bus::open(memory);
          if (!bus) return fine.store(false);
          auto sub = bus->subscriber<checked>("t" + std::to_string(t));
          auto pub = bus->publisher<checked>("t" + std::to_string(t));
          if (!sub || !pub || !pub->publish(checked::make(t, 1))) return fine.store(false);
          const auto s = sub->poll();
          if (!s || !*s || !(*s)->intact()) return fine.store(false);
        }
      });
    }
    const int rounds = fast() ? 30 : 150;
    for (int i = 0; i < rounds && fine; ++i) {
      // One that is held over the fork, while others come and go around it.
      auto bus = quoit::bus::open(memory).value();
      auto sub = std::make_unique<quoit::subscriber<checked>>(bus.subscriber<checked>("held").value());
      auto pub = std::make_unique<quoit::publisher<checked>>(bus.publisher<checked>("held").value());
      REQUIRE(pub->publish(checked::make(77, static_cast<std::uint64_t>(i))));
      auto held = std::make_unique<quoit::sample<checked>>(sub->poll().value());
      child forked([&] {
        ::alarm(60);
        for (int look = 0; look < 5; ++look) {
          if (!(*held)->intact() || (*held)->publisher != 77) return 1;
          timespec pause{0, 1'000'000};
          ::nanosleep(&pause, nullptr);
        }
        auto mine = quoit::bus::open(memory);
        if (!mine) return 2;
        auto own = mine->publisher<checked>("child");
        return own && own->publish(checked::make(1, 1)) ? 0 : 3;
      });
      held.reset();
      pub.reset();
      sub.reset();
      if (i % 3 == 0) forked.kill(SIGKILL);
      const ending how = forked.wait();
      CHECK_MESSAGE((how.status == 0 || how.signal == SIGKILL), "status ", how.status, " signal ", how.signal);
    }
    over = true;
    for (auto& t : threads) t.join();
    CHECK(fine);
  }
  {
    auto last = quoit::bus::open(memory).value();
  }
  CHECK(memory.free_bytes() == free_before);
}
