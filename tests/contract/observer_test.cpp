// What an observer may count on, and what others may count on beside it, whichever way the messages go.
#include "contract/ways.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::mode;
using quoit::policy;

namespace {

// How far it comes from `next` on; true if everything that it did not get was told as lost.
bool look_on(quoit::subscriber<checked>& sub, std::uint64_t& next, std::uint64_t& lost) {
  for (;;) {
    const auto got = sub.wait(50ms);
    if (!got && got.error() == errc::timed_out) return true;
    if (!got && got.error() != errc::lagged) return false;
    if (!got) {
      next += got.error().value();
      lost += got.error().value();
    } else if (!(*got)->intact() || (*got)->number != next++) {
      return false;
    }
  }
}

}  // namespace

TEST_CASE("an observer sees what is published, and is not counted") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t", {.limits = {.subscriptions_max = 1}}).value();
  auto sub = bus.subscriber<checked>("t").value();
  auto observer = bus.subscriber<checked>("t", {.mode = mode::observer}).value();
  CHECK(pub.subscribers() == 1);
  auto later = bus.publisher<checked>("t").value();
  CHECK(later.subscribers() == 1);
  CHECK(observer.publishers() == 2);
  for (std::uint64_t n = 0; n < 20; ++n) {
    REQUIRE(pub.publish(checked::make(1, n)));
    CHECK(observer.wait(10s).value()->number == n);
  }
  REQUIRE(later.publish(checked::make(2, 7)));
  CHECK(observer.wait(10s).value()->number == 7);
  for (int n = 0; n < 21; ++n) REQUIRE(sub.wait(10s));
  CHECK(here.inspect().value().topics.at(0).subscriptions.size() == 1);
}

TEST_CASE("nobody waits for an observer that does not look, and it is told what it lost") {
  const auto way = this_way();
  for (const policy p : {policy::block, policy::fail, policy::overwrite}) {
    const meeting here(way);
    auto bus = here.open();
    // Where no lossy subscription may be, an observer may.
    auto pub =
        bus.publisher<checked>("t", {.policy = p, .capacity_bytes = 8192, .lossy_subscribers = p == policy::overwrite})
            .value();
    auto observer = bus.subscriber<checked>("t", {.mode = mode::observer}).value();
    constexpr std::uint64_t published = 5000;
    for (std::uint64_t n = 0; n < published; ++n) REQUIRE(pub.publish(checked::make(1, n)));
    CHECK(pub.flush_for(10s).has_value());
    std::uint64_t next = 0, lost = 0;
    CHECK(look_on(observer, next, lost));
    CHECK(next == published);
    CHECK(lost > 0);
    CHECK(observer.lost() == lost);
  }
}

TEST_CASE("an observer makes no topic, and keeps none alive") {
  const meeting here(this_way());
  auto bus = here.open();
  const auto none = bus.subscriber<checked>("t", {.mode = mode::observer});
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == errc::not_found);
  auto pub = std::make_unique<quoit::publisher<checked>>(bus.publisher<checked>("t").value());
  auto observer = bus.subscriber<checked>("t", {.mode = mode::observer}).value();
  pub.reset();
  CHECK(here.inspect().value_or(quoit::bus_info{}).topics.empty());
  // The next topic of that name is another one.
  auto words = bus.publisher<quoit::text>("t").value();
  CHECK(observer.wait(20ms).error().code() == errc::timed_out);
}

TEST_CASE("an observer begins where it asked to, and its samples stay") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = 8192, .history = 20}).value();
  for (std::uint64_t n = 0; n < 20; ++n) REQUIRE(pub.publish(checked::make(1, n)));
  auto observer = bus.subscriber<checked>("t", {.mode = mode::observer, .start = quoit::start::last(5)}).value();
  const auto held = observer.wait(10s).value();
  CHECK(held->number == 15);
  for (std::uint64_t n = 20; n < 1000; ++n) REQUIRE(pub.publish(checked::make(1, n)));
  std::uint64_t next = 16, lost = 0;
  CHECK(look_on(observer, next, lost));
  CHECK(next == 1000);
  CHECK(held->number == 15);
  CHECK(held->intact());
}
