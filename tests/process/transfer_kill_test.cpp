// A transfer to two reliable subscribers, of which one is killed at some moment: the publisher, which waits for space
// with loan_for, and the other one finish, whatever the dead one held.
#include <doctest/doctest.h>

#include <array>
#include <ctime>
#include <quoit.hpp>
#include <random>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;

namespace {

struct part {
  std::uint64_t number;
  std::array<std::uint64_t, 511> filler;
};

constexpr std::uint64_t parts = 3000;
constexpr auto ever = std::chrono::nanoseconds::max();

// The message itself, in each of its words.
int receive(const std::string& bus_name) {
  auto bus = quoit::bus::open(bus_name).value();
  auto sub = bus.subscriber<part>("file", {.mode = quoit::mode::reliable}).value();
  for (std::uint64_t n = 0; n < parts; ++n) {
    const auto s = sub.wait(ever);
    if (!s) return std::fprintf(stderr, "%s\n", s.error().message().c_str()), 1;
    if ((*s)->number != n) return 2;
    for (const std::uint64_t word : (*s)->filler) {
      if (word != n) return 3;
    }
  }
  return 0;
}

int send(const std::string& bus_name) {
  auto bus = quoit::bus::open(bus_name).value();
  // Four parts fit, so that it waits nearly always.
  auto pub = bus.publisher<part>("file", {.capacity_bytes = 128 * 1024}).value();
  while (pub.subscribers() < 2) {
    timespec pause{0, 100'000};
    ::nanosleep(&pause, nullptr);
  }
  for (std::uint64_t n = 0; n < parts; ++n) {
    auto loan = pub.loan_for(ever);
    if (!loan) return std::fprintf(stderr, "%s\n", loan.error().message().c_str()), 1;
    (*loan)->number = n;
    (*loan)->filler.fill(n);
    std::move(*loan).publish();
  }
  return 0;
}

}  // namespace

TEST_CASE("a transfer to two subscribers goes on for one when the other is killed, at any moment") {
  std::mt19937 random(11);
  for (int round = 0; round < (fast() ? 10 : 30); ++round) {
    const bus_guard name;
    {
      // Holds the bus, so that what is left at the end is somebody's fault.
      auto bus = quoit::bus::open(name.name()).value();
      child survivor([&] { return receive(name.name()); });
      const auto subscribed = [&] {
        const auto info = quoit::inspect(name.name()).value();
        return info.topics.size() == 1 && info.topics[0].subscriptions.size() == 1;
      };
      until(subscribed);
      child victim([&] { return receive(name.name()); });
      child sender([&] { return send(name.name()); });
      timespec pause{0, static_cast<long>(random() % 20'000'000)};
      ::nanosleep(&pause, nullptr);
      victim.kill(SIGKILL);
      const ending how = victim.wait();
      CHECK((how.signal == SIGKILL || how.status == 0));
      // Killed before it subscribed, it is not one of the two.
      child instead([&] { return receive(name.name()); });
      CHECK(sender.wait().status == 0);
      CHECK(survivor.wait().status == 0);
      instead.kill(SIGKILL);
      instead.wait();
    }
    CHECK(name.files().empty());
  }
}
