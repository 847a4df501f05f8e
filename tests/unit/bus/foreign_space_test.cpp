// Publishers in a loop that is not quoit's, which wait for space. No recheck helps, unless a case says so: it comes
// after an hour, and a wake that is lost hangs.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/foreign.hpp"
#include "support/skip.hpp"
#include "support/sleeper.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

constexpr quoit::transport both[] = {quoit::transport::shared_memory, quoit::transport::kernel};
constexpr quoit::publisher_options small{.capacity_bytes = 4096};

// Publishes until there is no room, and on the kernel path none in the sockets either. How many.
std::uint64_t fill(checked_publisher& pub, std::uint64_t from = 0) {
  std::uint64_t n = from;
  while (pub.publish(checked::make(1, n))) ++n;
  CHECK(pub.try_loan().error() == errc::would_block);
  return n - from;
}

// Takes what is there. How many.
std::uint64_t drain(checked_subscriber& sub) {
  std::uint64_t n = 0;
  for (;;) {
    const auto got = sub.poll();
    REQUIRE(got.has_value());
    if (!*got) return n;
    ++n;
  }
}

}  // namespace

TEST_CASE("a publisher's descriptor is readable until a loan is refused, and again when a subscriber makes room") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto pub = bus.publisher<checked>("t", small).value();
    auto sub = bus.subscriber<checked>("t").value();
    until([&] { return pub.subscribers() == 1; });
    const int fd = pub.fd().value();
    CHECK(pub.fd().value() == fd);
    CHECK(readable(fd));
    for (int round = 0; round < 5; ++round) {
      const std::uint64_t there = fill(pub);
      CHECK(there > 0);
      CHECK_FALSE(readable(fd));
      CHECK_FALSE(pub.try_loan());
      CHECK_FALSE(readable(fd));
      CHECK(drain(sub) > 0);
      REQUIRE(readable(fd, -1));
      // It stays so, as long as there is room: also while messages are published.
      REQUIRE(pub.publish(checked::make(1, 0)));
      CHECK(readable(fd));
    }
  }
}

TEST_CASE(
    "a publisher that asks for its descriptor when it was refused already finds it readable, and is refused once") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto pub = bus.publisher<checked>("t", small).value();
    auto sub = bus.subscriber<checked>("t").value();
    until([&] { return pub.subscribers() == 1; });
    fill(pub);
    const int fd = pub.fd().value();
    CHECK(readable(fd));
    CHECK_FALSE(pub.try_loan());
    CHECK_FALSE(readable(fd));
    CHECK(drain(sub) > 0);
    CHECK(readable(fd, -1));
  }
}

TEST_CASE("samples that are held keep the descriptor of a publisher silent, and giving one back makes it readable") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t", small).value();
  auto sub = bus.subscriber<checked>("t").value();
  const int fd = pub.fd().value();
  fill(pub);
  auto held = sub.poll().value();
  REQUIRE(held);
  // What lies behind it is taken: the oldest one holds the place of them all.
  while (auto later = sub.poll().value()) {
  }
  CHECK_FALSE(pub.try_loan());
  CHECK_FALSE(readable(fd));
  held = {};
  REQUIRE(readable(fd, -1));
  CHECK(pub.try_loan());
}

TEST_CASE("a subscriber that leaves makes the descriptor of a publisher readable") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto theirs = std::make_unique<quoit::bus>(quoit::bus::open(name.name(), patient(used)).value());
    auto pub = bus.publisher<checked>("t", small).value();
    auto sub = std::make_unique<checked_subscriber>(theirs->subscriber<checked>("t").value());
    until([&] { return pub.subscribers() == 1; });
    const int fd = pub.fd().value();
    fill(pub);
    REQUIRE_FALSE(readable(fd));
    sub.reset();
    REQUIRE(readable(fd, -1));
    CHECK(pub.try_loan());
  }
}

TEST_CASE("under policy fail, and where overwrite is refused, the descriptor says when to try again") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  {
    auto pub = bus.publisher<checked>("fails", {.policy = quoit::policy::fail, .capacity_bytes = 4096}).value();
    auto sub = bus.subscriber<checked>("fails").value();
    const int fd = pub.fd().value();
    fill(pub);
    CHECK_FALSE(readable(fd));
    drain(sub);
    REQUIRE(readable(fd, -1));
    CHECK(pub.try_loan());
  }
  // Samples of lossy subscribers in every stride.
  auto pub = bus.publisher<checked>("overwrites", {.policy = quoit::policy::overwrite, .capacity_bytes = 4096}).value();
  auto sub = bus.subscriber<checked>("overwrites", {.samples_max = 64}).value();
  const int fd = pub.fd().value();
  std::vector<quoit::sample<checked>> held;
  std::uint64_t n = 0;
  while (pub.publish(checked::make(1, n++))) {
    while (auto one = sub.poll().value()) held.push_back(std::move(one));
  }
  CHECK_FALSE(readable(fd));
  held.clear();
  REQUIRE(readable(fd, -1));
  CHECK(pub.try_loan());
}

TEST_CASE("each publisher of a topic has a descriptor of its own, and room in one lane is none in another") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto theirs = quoit::bus::open(name.name(), patient()).value();
  auto a = bus.publisher<checked>("t", small).value();
  auto b = bus.publisher<checked>("t", small).value();
  auto c = theirs.publisher<checked>("t", small).value();
  auto sub = theirs.subscriber<checked>("t").value();
  const int fds[] = {a.fd().value(), b.fd().value(), c.fd().value()};
  CHECK((fds[0] != fds[1] && fds[1] != fds[2] && fds[0] != fds[2]));
  fill(a);
  CHECK((!readable(fds[0]) && readable(fds[1]) && readable(fds[2])));
  CHECK(drain(sub) > 0);
  CHECK(readable(fds[0], -1));
  fill(b);
  fill(c);
  CHECK((readable(fds[0]) && !readable(fds[1]) && !readable(fds[2])));
  drain(sub);
  CHECK((readable(fds[1], -1) && readable(fds[2], -1)));
}

TEST_CASE("a loan of one's own that is in the way leaves the descriptor as it is") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  for (const std::uint32_t loans_max : {2u, 1000u}) {
    auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096, .loans_max = loans_max}).value();
    const int fd = pub.fd().value();
    {
      std::vector<quoit::loan<checked>> open;
      auto next = pub.try_loan();
      for (; next; next = pub.try_loan()) open.push_back(std::move(*next));
      CHECK(next.error() == (loans_max == 2 ? errc::too_many_loans : errc::would_block));
      CHECK(pub.blocked_by().subscription == quoit::blocker::nobody);
      CHECK(readable(fd));
    }
    CHECK(pub.try_loan());
  }
}

// One subscriber that moves once in a while, and nobody who comes after it: a wake that is lost is not made good.
TEST_CASE("room that is made while a loan is refused makes the descriptor readable, whenever that is") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const std::uint64_t rounds = fast() || used == quoit::transport::kernel ? 2'000 : 30'000;
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto pub = bus.publisher<checked>("t", small).value();
    std::atomic<bool> there{false};
    std::thread subscribes([&] {
      auto theirs = quoit::bus::open(name.name(), patient(used)).value();
      auto sub = theirs.subscriber<checked>("t").value();
      there = true;
      std::minstd_rand dice(7);
      std::uint64_t next = 0;
      while (next < rounds) {
        for (unsigned n = dice() % 4096; n != 0; --n) quoit::detail::cpu_relax();
        const auto got = sub.wait(1h);
        if (!got || (*got)->number != next++) std::abort();
      }
    });
    until([&] { return there && pub.subscribers() == 1; });
    const int fd = pub.fd().value();
    std::uint64_t refused = 0;
    for (std::uint64_t n = 0; n < rounds;) {
      const auto sent = pub.publish(checked::make(1, n));
      if (sent) {
        ++n;
        continue;
      }
      REQUIRE(sent.error() == errc::would_block);
      ++refused;
      REQUIRE(readable(fd, -1));
    }
    CHECK(refused > 0);
    if (!pub.flush_for(1h)) FAIL("not flushed");
    subscribes.join();
  }
}

TEST_CASE("two publishers in one epoll loop and two subscribers that hold samples: every message arrives") {
  const std::uint64_t count = fast() ? 2'000 : 20'000;
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    std::vector<std::thread> threads;
    std::atomic<int> there{0};
    for (unsigned who = 0; who < 2; ++who) {
      threads.emplace_back([&, who] {
        auto theirs = quoit::bus::open(name.name(), patient(used)).value();
        auto sub = theirs.subscriber<checked>("t", {.samples_max = 8}).value();
        ++there;
        std::minstd_rand dice(who + 1);
        std::map<std::uint64_t, std::uint64_t> next;
        std::vector<quoit::sample<checked>> held;
        while (next[1] + next[2] < 2 * count) {
          auto got = sub.wait(1h);
          if (!got || (*got)->number != next[(*got)->publisher]++) std::abort();
          if (dice() % 4 == 0) held.push_back(std::move(*got));
          if (held.size() == 7 || dice() % 64 == 0) held.clear();
        }
      });
    }
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    until([&] { return there == 2; });
    std::vector<checked_publisher> pubs;
    for (int i = 0; i < 2; ++i) pubs.push_back(bus.publisher<checked>("t", small).value());
    for (auto& pub : pubs) until([&] { return pub.subscribers() == 2; });
    std::uint64_t sent[2] = {};
    // Who was refused waits; who was not goes on.
    bool waits[2] = {};
    while (sent[0] < count || sent[1] < count) {
      for (unsigned i = 0; i < 2; ++i) {
        if (waits[i] && readable(pubs[i].fd().value())) waits[i] = false;
        for (unsigned burst = 0; burst < 8 && !waits[i] && sent[i] < count; ++burst) {
          if (pubs[i].publish(checked::make(i + 1, sent[i]))) {
            ++sent[i];
          } else {
            waits[i] = true;
          }
        }
      }
      if ((waits[0] || sent[0] == count) && (waits[1] || sent[1] == count) && (sent[0] < count || sent[1] < count)) {
        pollfd both_fds[2] = {{waits[0] ? pubs[0].fd().value() : -1, POLLIN, 0},
                              {waits[1] ? pubs[1].fd().value() : -1, POLLIN, 0}};
        REQUIRE(::poll(both_fds, 2, -1) > 0);
      }
    }
    for (auto& pub : pubs) CHECK(pub.flush_for(1h));
    for (auto& t : threads) t.join();
  }
}

TEST_CASE("a subscriber that is killed in the way of a publisher is found at a recheck of the descriptor") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    quoit::bus_options options = patient(used);
    options.recheck = 20ms;
    auto bus = quoit::bus::open(name.name(), options).value();
    auto pub = bus.publisher<checked>("t", small).value();
    child dies([&] {
      auto theirs = quoit::bus::open(name.name(), patient(used)).value();
      const auto sub = theirs.subscriber<checked>("t");
      while (sub) ::pause();
      return 1;
    });
    until([&] { return pub.subscribers() == 1; });
    const int fd = pub.fd().value();
    fill(pub);
    dies.kill();
    dies.wait();
    while (!pub.try_loan()) REQUIRE(readable(fd, -1));
    // Also where the call that cleaned up found the room itself.
    CHECK(readable(fd));
  }
}

TEST_CASE("whoever cleans up after a subscriber that was killed makes the descriptor of a publisher readable") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t", small).value();
  child dies([&] {
    auto theirs = quoit::bus::open(name.name(), patient()).value();
    const auto sub = theirs.subscriber<checked>("t");
    while (sub) ::pause();
    return 1;
  });
  until([&] { return pub.subscribers() == 1; });
  const int fd = pub.fd().value();
  fill(pub);
  REQUIRE_FALSE(readable(fd));
  dies.kill();
  dies.wait();
  // Another one, which comes.
  auto theirs = quoit::bus::open(name.name(), patient()).value();
  REQUIRE(readable(fd, -1));
  CHECK(pub.try_loan());
}

// As one that is killed between the two: `waiting` is taken, and nobody was told.
TEST_CASE("a wake that died with the subscriber that took it costs a recheck of the descriptor") {
  const bus_guard name;
  quoit::bus_options options = patient();
  options.recheck = 20ms;
  auto bus = quoit::bus::open(name.name(), options).value();
  auto pub = bus.publisher<checked>("t", small).value();
  auto sub = bus.subscriber<checked>("t").value();
  const int fd = pub.fd().value();
  fill(pub);
  while (readable(fd)) CHECK_FALSE(pub.try_loan());
  // Its pipe is gone, and so is the wake.
  for (const std::string& pipe : pipes_of(name)) REQUIRE(::unlink(("/dev/shm/" + pipe).c_str()) == 0);
  REQUIRE(drain(sub) > 0);
  REQUIRE(readable(fd, -1));
  CHECK(pub.try_loan());
  // It does not stay readable for that when it was asked.
  fill(pub);
  CHECK_FALSE(readable(fd));
}

TEST_CASE("threads that wait and coroutines share a publisher with a foreign loop") {
  for (const auto used : both) {
    for (const bool stops : {false, true}) {
      CAPTURE(static_cast<int>(used));
      const bus_guard name;
      auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
      auto bus = quoit::bus::open(ex, name.name(), patient(used)).value();
      auto pub = bus.publisher<checked>("t", small).value();
      constexpr std::uint64_t count = 600;
      std::atomic<bool> there{false};
      std::thread subscribes([&] {
        auto theirs = quoit::bus::open(name.name(), patient(used)).value();
        auto sub = theirs.subscriber<checked>("t").value();
        there = true;
        for (std::uint64_t i = 0; i < count; ++i) {
          if (i % 7 == 0) std::this_thread::sleep_for(100us);
          const auto got = sub.wait(1h);
          if (!got || (*got)->number != i) std::abort();
        }
      });
      until([&] { return there && pub.subscribers() == 1; });
      const int fd = pub.fd().value();
      const auto one = [](checked_publisher& to, std::uint64_t number) -> quoit::task<bool> {
        auto loan = co_await to.loan();
        if (!loan) co_return false;
        **loan = checked::make(1, number);
        std::move(*loan).publish();
        co_return true;
      };
      // It gives up waiting, and says so: the descriptor does not mind.
      const auto gives_up = [](checked_publisher& to, std::uint64_t number) -> quoit::task<bool> {
        auto loan = co_await quoit::timeout(50us, to.loan());
        if (!loan) co_return false;
        **loan = checked::make(1, number);
        std::move(*loan).publish();
        co_return true;
      };
      for (std::uint64_t next = 0; next < count;) {
        if (stops) {
          if (pub.publish(checked::make(1, next))) {
            ++next;
            continue;
          }
          if (ex.run(gives_up(pub, next))) ++next;
          // What the coroutine had announced is not taken back under us.
          REQUIRE(readable(fd, -1));
        } else if (next % 3 == 0) {
          REQUIRE(ex.run(one(pub, next++)));
        } else if (next % 3 == 1) {
          REQUIRE(pub.publish_for(checked::make(1, next++), 1h));
        } else if (pub.publish(checked::make(1, next))) {
          ++next;
        } else {
          REQUIRE(readable(fd, -1));
        }
      }
      CHECK(pub.flush_for(1h));
      subscribes.join();
    }
  }
}

TEST_CASE("without a descriptor, and with one that was never refused, a publisher makes no system call for it") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t", small).value();
  auto sub = bus.subscriber<checked>("t").value();
  const auto costs = [&] {
    const auto before = quoit::process_counters();
    for (std::uint64_t i = 0; i < 1000; ++i) {
      REQUIRE(pub.publish(checked::make(1, i)));
      REQUIRE(sub.poll().value());
    }
    return quoit::process_counters().wakes - before.wakes;
  };
  CHECK(costs() == 0);
  REQUIRE(pub.fd());
  CHECK(costs() == 0);
  // The one refusal is answered by one write, and then nobody is told any more.
  fill(pub);
  const auto before = quoit::process_counters().wakes;
  drain(sub);
  CHECK(quoit::process_counters().wakes == before + 1);
  CHECK(costs() == 0);
}

TEST_CASE("the pipe of a publisher goes with it, and its descriptor is silent then") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto sub = bus.subscriber<checked>("t").value();
  {
    auto pub = bus.publisher<checked>("t", small).value();
    CHECK(pipes_of(name).empty());
    REQUIRE(pub.fd());
    CHECK(pipes_of(name).size() == 1);
    const int copy = ::dup(pub.fd().value());
    CHECK(readable(copy));
    {
      const auto gone = std::move(pub);
    }
    CHECK_FALSE(readable(copy));
    ::close(copy);
  }
  CHECK(pipes_of(name).empty());
  // Nothing is left of it for whoever has the entry next.
  auto next = bus.publisher<checked>("t", small).value();
  fill(next);
  const auto before = quoit::process_counters().wakes;
  drain(sub);
  CHECK(quoit::process_counters().wakes == before);
}

TEST_CASE("whoever goes on with the lane of a publisher that was killed has no descriptor of the dead one's") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto sub = bus.subscriber<checked>("t").value();
  child dies([&] {
    auto theirs = quoit::bus::open(name.name(), patient()).value();
    auto pub = theirs.publisher<checked>("t", small).value();
    if (!pub.fd()) return 1;
    while (pub.publish(checked::make(1, 0))) {
    }
    ::raise(SIGKILL);
    return 1;
  });
  CHECK(dies.wait().signal == SIGKILL);
  // The first pipe of this node, as the dead one's was the first of its own.
  auto other = bus.subscriber<checked>("other").value();
  const int not_meant = other.fd().value();
  CHECK_FALSE(other.poll().value());
  auto pub = bus.publisher<checked>("t", small).value();
  {
    // One who leaves rings whoever has the lane by now.
    const auto leaves = bus.subscriber<checked>("t").value();
  }
  CHECK_FALSE(readable(not_meant));
  const int fd = pub.fd().value();
  while (pub.publish(checked::make(1, 1))) {
  }
  CHECK_FALSE(readable(fd));
  CHECK(drain(sub) > 0);
  CHECK(readable(fd, -1));
}

TEST_CASE("a forked child has no descriptor of a publisher, and takes nothing of its parent's with it") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto sub = bus.subscriber<checked>("t").value();
    auto pub = std::make_unique<checked_publisher>(bus.publisher<checked>("t", small).value());
    until([&] { return pub->subscribers() == 1; });
    const int fd = pub->fd().value();
    fill(*pub);
    child copy([&] {
      const bool refused = pub->fd().error() == errc::forked && pub->try_loan().error() == errc::forked;
      pub.reset();
      return refused ? 0 : 1;
    });
    CHECK(copy.wait().status == 0);
    CHECK_FALSE(readable(fd));
    CHECK(drain(sub) > 0);
    CHECK(readable(fd, -1));
  }
}

TEST_CASE("a publisher that cannot have a descriptor is told why, and goes on without") {
  const auto memory = quoit::inherited_memory::create({.bytes = 16 << 20}).value();
  auto inherited = quoit::bus::open(memory).value();
  auto inside = inherited.publisher<checked>("t").value();
  CHECK(inside.fd().error() == errc::invalid_argument);
  CHECK(inside.publish(checked::make(1, 1)));

  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    for (int spare = 0; spare < 3; ++spare) {
      child poor([&] {
        auto theirs = quoit::bus::open(name.name(), patient(used)).value();
        auto pub = theirs.publisher<checked>("t", small).value();
        const int next = ::dup(0);
        ::close(next);
        const rlimit few{static_cast<rlim_t>(next + spare), static_cast<rlim_t>(next + spare)};
        ::setrlimit(RLIMIT_NOFILE, &few);
        const auto none = pub.fd();
        return !none && none.error() == errc::limit_reached && pub.publish(checked::make(1, 1)) ? 0 : 1;
      });
      CHECK(poor.wait().status == 0);
    }
    CHECK(pipes_of(name).empty());
  }
}
