// What is refused, and how it is said.
#include <doctest/doctest.h>

#include <cerrno>
#include <quoit.hpp>
#include <string>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::mode;
using quoit::policy;

namespace {

struct point {
  double x, y;
};
struct other_point {
  float x, y, z, w;
};
QUOIT_FIELDS(point, x, y)

template <class T>
T must(quoit::result<T> r) {
  if (!r) FAIL(r.error().message());
  return std::move(*r);
}
quoit::bus open(const bus_guard& name, quoit::bus_options options = {}) {
  return must(quoit::bus::open(name.name(), options));
}

}  // namespace

TEST_CASE("another type on a topic is refused, and what differs is named") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<point>("points"));
  const auto wrong = bus.subscriber<other_point>("points");
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().code() == errc::type_mismatch);
  const std::string words = wrong.error().message();
  CHECK_MESSAGE(words.find("topic points carries another type than the one asked for: the type is named point, asked "
                           "for named ") != std::string::npos,
                words);
  CHECK_MESSAGE(words.find("other_point; alignment 8, asked for 4; the fields are described (QUOIT_FIELDS) there only: "
                           "x:f64@0 y:f64@8") != std::string::npos,
                words);
  CHECK_FALSE(bus.publisher<quoit::bytes>("points"));
}

TEST_CASE("names outside the grammar are refused") {
  const bus_guard name;
  auto bus = open(name);
  for (const std::string_view bad : {"", "/", "a//b", "a/", "//a", "a+b", "a@b", "a b", "ä", "a\nb"}) {
    const auto p = bus.publisher<point>(bad);
    REQUIRE_FALSE(p);
    CHECK(p.error().code() == errc::invalid_name);
  }
  CHECK_FALSE(bus.publisher<point>(std::string(161, 'a')));
  CHECK(bus.publisher<point>(std::string(160, 'a')));
  CHECK(bus.publisher<point>("/a/b-c_d.e~f"));
  for (const std::string_view bad : {".", "a.b", "a/b", "a@b", "123456789012345678901234567890123"}) {
    const auto b = quoit::bus::open(bad);
    REQUIRE_FALSE(b);
    CHECK(b.error().code() == errc::invalid_name);
  }
}

TEST_CASE("a leading slash means nothing") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<point>("/a/b"));
  auto sub = must(bus.subscriber<point>("a/b"));
  REQUIRE(pub.publish({1, 2}));
  CHECK(must(sub.poll()));
}

TEST_CASE("under block a loan is refused while a reliable subscriber is behind, and names it") {
  const bus_guard name;
  auto bus = open(name, {.node_name = "the slow one"});
  auto pub = must(bus.publisher<checked>("t"));
  auto sub = must(bus.subscriber<checked>("t"));
  std::uint64_t n = 0;
  while (pub.publish(checked::make(0, n))) ++n;
  auto refused = pub.try_loan();
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == errc::would_block);
  CHECK(pub.blocked_by().node == "the slow one");
  CHECK(pub.blocked_by().pid == static_cast<std::uint32_t>(::getpid()));
  const auto late = pub.loan_for(5ms);
  REQUIRE_FALSE(late);
  CHECK(late.error().code() == errc::timed_out);
  for (std::uint64_t i = 0; i < n; ++i) CHECK(must(sub.poll())->number == i);
  CHECK(pub.try_loan());
}

TEST_CASE("where loans of one's own are in the way, nobody is blamed") {
  const bus_guard name;
  auto bus = open(name, {.node_name = "innocent"});
  auto pub = must(bus.publisher<checked>("t", {.capacity_bytes = 4096, .loans_max = 1000}));
  CHECK(pub.blocked_by().subscription == quoit::blocker::nobody);
  auto sub = must(bus.subscriber<checked>("t"));
  std::vector<quoit::loan<checked>> loans;
  auto loan = pub.try_loan();
  for (; loan; loan = pub.try_loan()) loans.push_back(std::move(*loan));
  CHECK(loan.error().code() == errc::would_block);
  CHECK(loan.error().value() == quoit::blocker::nobody);
  CHECK(pub.blocked_by().subscription == quoit::blocker::nobody);
  CHECK(pub.blocked_by().pid == 0);
  CHECK(pub.blocked_by().node.empty());
  loans.clear();
  CHECK(pub.try_loan());
}

TEST_CASE("a publisher that has too many loans, or none that is refused, is blocked by nobody") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<checked>("t", {.loans_max = 1}));
  auto sub = must(bus.subscriber<checked>("t"));
  while (pub.publish(checked::make(0, 0))) {
  }
  CHECK(pub.blocked_by().subscription == 0);
  while (must(sub.poll())) {
  }
  auto loan = must(pub.try_loan());
  CHECK(pub.blocked_by().subscription == quoit::blocker::nobody);
  CHECK(pub.try_loan().error().code() == errc::too_many_loans);
  CHECK(pub.blocked_by().subscription == quoit::blocker::nobody);
}

TEST_CASE("a node without a name has that of its program") {
  const bus_guard name;
  auto bus = open(name);
  const auto nodes = must(quoit::inspect(name.name())).nodes;
  REQUIRE(nodes.size() == 1);
  CHECK(nodes[0].name == ::program_invocation_short_name);
}

TEST_CASE("what is published behind an open loan counts as a loan") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<point>("t", {.loans_max = 2}));
  auto loan = must(pub.try_loan());
  CHECK(pub.publish({1, 2}));
  CHECK(pub.publish({3, 4}).error().code() == errc::too_many_loans);
  std::move(loan).publish();
  CHECK(pub.publish({3, 4}));
}

TEST_CASE("under fail nobody waits") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<checked>("t", {.policy = policy::fail}));
  auto sub = must(bus.subscriber<checked>("t"));
  while (pub.publish(checked::make(0, 0))) {
  }
  const auto loan = pub.loan_for(1h);
  REQUIRE_FALSE(loan);
  CHECK(loan.error().code() == errc::would_block);
}

TEST_CASE("a reliable subscription and an overwriting publisher refuse each other") {
  const bus_guard name;
  auto bus = open(name);
  {
    auto pub = must(bus.publisher<point>("a", {.policy = policy::overwrite}));
    const auto sub = bus.subscriber<point>("a", {.mode = mode::reliable});
    REQUIRE_FALSE(sub);
    CHECK(sub.error().code() == errc::policy_conflict);
    CHECK(bus.subscriber<point>("a", {.mode = mode::lossy}));
  }
  {
    auto sub = must(bus.subscriber<point>("b", {.mode = mode::reliable}));
    const auto pub = bus.publisher<point>("b", {.policy = policy::overwrite});
    REQUIRE_FALSE(pub);
    CHECK(pub.error().code() == errc::policy_conflict);
  }
  {
    auto pub = must(bus.publisher<point>("c", {.lossy_subscribers = false}));
    const auto sub = bus.subscriber<point>("c", {.mode = mode::lossy});
    REQUIRE_FALSE(sub);
    CHECK(sub.error().code() == errc::policy_conflict);
  }
}

TEST_CASE("more samples than a subscription may hold are refused, the held ones stay") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<checked>("t"));
  auto sub = must(bus.subscriber<checked>("t", {.samples_max = 2}));
  for (std::uint64_t n = 0; n < 3; ++n) REQUIRE(pub.publish(checked::make(0, n)));
  auto a = must(sub.poll());
  auto b = must(sub.poll());
  const auto c = sub.poll();
  REQUIRE_FALSE(c);
  CHECK(c.error().code() == errc::too_many_samples);
  CHECK(c.error().message().find("samples_max") != std::string::npos);
  a.release();
  CHECK(must(sub.poll())->number == 2);
  CHECK(b->number == 1);
}

TEST_CASE("more loans than a publisher may have are refused") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<point>("t", {.loans_max = 2}));
  auto a = must(pub.try_loan());
  auto b = must(pub.try_loan());
  const auto c = pub.try_loan();
  REQUIRE_FALSE(c);
  CHECK(c.error().code() == errc::too_many_loans);
  CHECK(c.error().message().find("loans_max") != std::string::npos);
  std::move(a).publish();
  CHECK(pub.try_loan());
}

TEST_CASE("with everything held an overwriting publisher is refused and names who holds most") {
  const bus_guard name;
  auto bus = open(name, {.node_name = "hoarder"});
  auto pub = must(bus.publisher<checked>("t", {.policy = policy::overwrite, .capacity_bytes = 4096, .strides = 8}));
  auto sub = must(bus.subscriber<checked>("t", {.samples_max = 100}));
  CHECK_FALSE(pub.never_refuses());
  std::vector<quoit::sample<checked>> held;
  std::uint64_t n = 0;
  for (; n < 1000 && pub.publish(checked::make(0, n)); ++n) held.push_back(must(sub.poll()));
  REQUIRE(n < 1000);
  const auto loan = pub.try_loan();
  REQUIRE_FALSE(loan);
  CHECK(loan.error().code() == errc::would_block);
  CHECK(pub.blocked_by().node == "hoarder");
  for (std::uint64_t i = 0; i < n; ++i) CHECK(held[i]->number == i);
  held.clear();
  CHECK(pub.try_loan());
}

TEST_CASE("a message too large names the capacity that it needs") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<quoit::bytes>("t", {.capacity_bytes = 4096}));
  const auto loan = pub.try_loan_bytes(10'000);
  REQUIRE_FALSE(loan);
  CHECK(loan.error().code() == errc::message_too_large);
  const std::uint64_t capacity = loan.error().value();
  auto larger = must(bus.publisher<quoit::bytes>("t", {.capacity_bytes = capacity}));
  CHECK(larger.try_loan_bytes(10'000));
  const auto fixed = bus.publisher<std::array<char, 100'000>>("big", {.capacity_bytes = 65536});
  REQUIRE_FALSE(fixed);
  CHECK(fixed.error().code() == errc::message_too_large);
  CHECK(bus.publisher<std::array<char, 100'000>>("big", {.capacity_bytes = fixed.error().value()}));
  CHECK(bus.publisher<std::array<char, 100'000>>("big"));
}

TEST_CASE("a message that no lane takes is said to be so") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<quoit::bytes>("t"));
  for (const std::size_t bytes : {std::size_t{1} << 30, std::size_t{1} << 40}) {
    const auto loan = pub.try_loan_bytes(bytes);
    REQUIRE_FALSE(loan);
    CHECK(loan.error().code() == errc::message_too_large);
    CHECK(loan.error().value() == 0);
    CHECK(loan.error().message().find("no lane") != std::string::npos);
  }
  for (const std::uint64_t bytes : {std::uint64_t{1} << 30, ~std::uint64_t{0}}) {
    const auto none = bus.publisher<quoit::bytes>("u", {.message_bytes_max = bytes});
    REQUIRE_FALSE(none);
    CHECK(none.error().code() == errc::message_too_large);
    CHECK(none.error().value() == 0);
    CHECK(none.error().message().find("no lane") != std::string::npos);
  }
}

TEST_CASE("options that cannot be are refused with what they may be") {
  const bus_guard name;
  auto bus = open(name);
  const auto code = [&](const quoit::publisher_options& o) { return bus.publisher<point>("t", o).error().code(); };
  CHECK(code({.alignment = 3}) == errc::invalid_argument);
  CHECK(code({.strides = 5}) == errc::invalid_argument);
  CHECK(code({.loans_max = 0}) == errc::invalid_argument);
  CHECK(code({.limits = {.publishers_max = 0}}) == errc::invalid_argument);
  CHECK(code({.capacity_bytes = std::uint64_t{1} << 40}) == errc::invalid_argument);
  CHECK(bus.subscriber<point>("t", {.samples_max = 0}).error().code() == errc::invalid_argument);
  CHECK(quoit::bus::open(name.name(), {.nodes_max = 0}).error().code() == errc::invalid_argument);
  CHECK(code({.message_bytes_max = 16}) == errc::invalid_argument);
  CHECK(code({.strides = 0}) == errc::invalid_argument);
  CHECK(code({.history = 1, .strides = 1}) == errc::invalid_argument);
  CHECK(bus.publisher<quoit::bytes>("b", {.strides = 0}).error().code() == errc::invalid_argument);
}

TEST_CASE("options of a bus that cannot be are refused by name") {
  const bus_guard name;
  const auto refused = [&](const char* option, const quoit::bus_options& options) {
    const auto bus = quoit::bus::open(name.name(), options);
    REQUIRE_FALSE(bus);
    CHECK(bus.error().code() == errc::invalid_argument);
    CHECK(bus.error().message().find(option) != std::string::npos);
  };
  refused("permissions", {.permissions = 01777});
  refused("node_name", {.node_name = "123456789012345678901234567890123456789012345678"});
  refused("spin_max", {.spin_max = -1ns});
  refused("recheck", {.recheck = -1ns});
  refused("lock_timeout", {.lock_timeout = std::chrono::nanoseconds::min()});
  constexpr auto ever = std::chrono::nanoseconds::max();
  auto bus = must(quoit::bus::open(name.name(), {.node_name = "12345678901234567890123456789012345678901234567",
                                                 .spin_max = ever,
                                                 .recheck = ever,
                                                 .lock_timeout = ever}));
  CHECK(bus.publisher<point>("t"));
}

TEST_CASE("a timeout below zero is over at once, one that is huge never overflows") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<checked>("t"));
  auto sub = must(bus.subscriber<checked>("t"));
  auto other = must(bus.subscriber<checked>("t"));
  for (const auto timeout : {std::chrono::nanoseconds::min(), std::chrono::nanoseconds(-1), 0ns}) {
    CHECK(sub.wait(timeout).error().code() == errc::timed_out);
    CHECK(bus.wait_any(timeout, sub, other).error().code() == errc::timed_out);
  }
  while (pub.publish(checked::make(0, 0))) {
  }
  for (const auto timeout : {std::chrono::nanoseconds::min(), std::chrono::nanoseconds(-1), 0ns}) {
    CHECK(pub.loan_for(timeout).error().code() == errc::timed_out);
    CHECK(pub.publish_for(checked::make(0, 0), timeout).error().code() == errc::timed_out);
  }
  constexpr auto ever = std::chrono::nanoseconds::max();
  CHECK(sub.wait(ever));
  CHECK(bus.wait_any(ever, sub, other));
  while (must(sub.poll()) || must(other.poll())) {
  }
  CHECK(pub.loan_for(ever));
}

TEST_CASE("a history that does not fit is refused with the capacity that it needs") {
  const bus_guard name;
  auto bus = open(name);
  const auto refused = bus.publisher<checked>("t", {.capacity_bytes = 8192, .history = 1000});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == errc::invalid_argument);
  CHECK(refused.error().message().find("capacity_bytes of at least " + std::to_string(refused.error().value())) !=
        std::string::npos);
  CHECK(bus.publisher<checked>("t", {.capacity_bytes = refused.error().value(), .history = 1000}));
  for (const std::uint64_t far : {std::uint64_t{1} << 28, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    const auto none = bus.publisher<checked>("t", {.history = far});
    REQUIRE_FALSE(none);
    CHECK(none.error().code() == errc::invalid_argument);
    CHECK(none.error().message().find("no lane") != std::string::npos);
  }
  const auto variable = bus.publisher<quoit::bytes>("v", {.history = 1});
  REQUIRE_FALSE(variable);
  CHECK(variable.error().code() == errc::invalid_argument);
  CHECK(variable.error().message().find("message_bytes_max") != std::string::npos);
}

TEST_CASE("each limit that is reached names its option") {
  const bus_guard name;
  auto bus = open(name, {.nodes_max = 2});
  auto second = open(name);
  const auto third = quoit::bus::open(name.name());
  REQUIRE_FALSE(third);
  CHECK(third.error().code() == errc::limit_reached);
  CHECK(third.error().message().find("nodes_max") != std::string::npos);

  const quoit::topic_limits limits{.publishers_max = 1, .subscriptions_max = 1};
  auto pub = must(bus.publisher<point>("t", {.limits = limits}));
  const auto pub2 = bus.publisher<point>("t");
  REQUIRE_FALSE(pub2);
  CHECK(pub2.error().code() == errc::limit_reached);
  CHECK(pub2.error().message().find("publishers_max") != std::string::npos);
  auto sub = must(bus.subscriber<point>("t"));
  const auto sub2 = bus.subscriber<point>("t");
  REQUIRE_FALSE(sub2);
  CHECK(sub2.error().message().find("subscriptions_max") != std::string::npos);
}

TEST_CASE("an error is a small value that can be copied and moved") {
  quoit::error a(errc::no_space, "the words", 7, ENOSPC);
  quoit::error b = a;
  quoit::error c = std::move(a);
  CHECK(b.words() == "the words");
  CHECK(c.words() == "the words");
  c = quoit::error(errc::lagged, 3);
  CHECK(c.words().empty());
  CHECK(c.message() == "lagged: 3 messages were overwritten before they were read");
  CHECK(b.message().find("No space left on device") != std::string::npos);
  CHECK(b == errc::no_space);
}
