// Who waits a little again and again notices a death as well as who waits for long.
#include <doctest/doctest.h>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

// Longer than any wait in here.
constexpr quoit::bus_options patient{.recheck = 20ms};

}  // namespace

TEST_CASE("waits shorter than the recheck notice that a publisher died") {
  for (const auto timeout : {0ms, 1ms, 5ms}) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient).value();
    auto sub = bus.subscriber<checked>("t").value();
    child victim([&] {
      auto mine = quoit::bus::open(name.name()).value();
      auto pub = mine.publisher<checked>("t").value();
      for (;;) ::pause();
      return 0;
    });
    while (sub.publishers() == 0) {
      if (const auto s = sub.wait(1ms); !s) REQUIRE(s.error() == errc::timed_out);
    }
    victim.kill();
    victim.wait();
    while (sub.publishers() != 0) {
      const auto s = sub.wait(timeout);
      if (!s) REQUIRE(s.error() == errc::timed_out);
    }
  }
}

TEST_CASE("waits for space shorter than the recheck notice that the subscriber in the way died") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive}) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), {.wait = how, .recheck = 20ms}).value();
    auto pub = bus.publisher<checked>("t").value();
    child victim([&] {
      auto mine = quoit::bus::open(name.name()).value();
      auto sub = mine.subscriber<checked>("t").value();
      for (;;) ::pause();
      return 0;
    });
    until([&] { return pub.subscribers() == 1; });
    while (pub.publish(checked::make(0, 0))) {
    }
    victim.kill();
    victim.wait();
    for (;;) {
      const auto loan = pub.loan_for(1ms);
      if (loan) break;
      REQUIRE(loan.error() == errc::timed_out);
    }
  }
}
