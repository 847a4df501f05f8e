#include <doctest/doctest.h>

#include <atomic>
#include <quoit.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::policy;

namespace {

struct point {
  double x, y;
};
struct alignas(64) wide {
  std::uint64_t value[8];
};
struct order {
  std::string symbol;
  std::vector<int> legs;
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

template <>
struct quoit::codec<order> {
  static constexpr std::string_view name = "order.v1";
  static std::size_t encoded_bytes(const order& o) { return 16 + o.symbol.size() + 4 * o.legs.size() + 100; }
  static std::size_t encode(const order& o, std::span<std::byte> out) {
    const std::uint64_t head[2] = {o.symbol.size(), o.legs.size()};
    std::memcpy(out.data(), head, 16);
    std::memcpy(out.data() + 16, o.symbol.data(), head[0]);
    std::memcpy(out.data() + 16 + head[0], o.legs.data(), 4 * head[1]);
    return 16 + head[0] + 4 * head[1];
  }
  static quoit::result<order> decode(std::span<const std::byte> in) {
    std::uint64_t head[2];
    if (in.size() < 16) return tl::unexpected(quoit::error(quoit::errc::corrupt));
    std::memcpy(head, in.data(), 16);
    if (head[0] > in.size() || head[1] > in.size() || 16 + head[0] + 4 * head[1] != in.size()) {
      return tl::unexpected(quoit::error(quoit::errc::corrupt));
    }
    order o{std::string(reinterpret_cast<const char*>(in.data()) + 16, head[0]), std::vector<int>(head[1])};
    std::memcpy(o.legs.data(), in.data() + 16 + head[0], 4 * head[1]);
    return o;
  }
};

TEST_CASE("a published struct is received where it was written") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<point>("points"));
  auto sub = must(bus.subscriber<point>("points"));
  auto loan = must(pub.try_loan());
  CHECK(loan->x == 0);  // constructed
  loan->x = 1.5;
  loan->y = -2;
  std::move(loan).publish();
  auto sample = must(sub.poll());
  REQUIRE(sample);
  CHECK(sample->x == 1.5);
  CHECK((*sample).y == -2);
  CHECK(sample.sequence() == 0);
  sample.release();
  CHECK_FALSE(must(sub.poll()));
}

TEST_CASE("messages of variable size keep their length, as bytes and as text") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<quoit::text>("words"));
  auto sub = must(bus.subscriber<quoit::text>("words"));
  for (const std::string_view word : {"", "a", "quoit", "a longer line that is not short"}) {
    REQUIRE(pub.publish(word));
    auto sample = must(sub.poll());
    REQUIRE(sample);
    CHECK(*sample == word);
  }
  auto blobs = must(bus.publisher<quoit::bytes>("blobs"));
  auto reader = must(bus.subscriber<quoit::bytes>("blobs"));
  auto loan = must(blobs.try_loan_bytes(100));
  CHECK(loan.data().size() == 100);
  std::memset(loan.data().data(), 9, 100);
  std::move(loan).publish(40);
  auto sample = must(reader.poll());
  REQUIRE((*sample).size() == 40);
  CHECK((*sample)[39] == std::byte{9});
}

TEST_CASE("a type that owns memory goes through its codec") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<order>("orders"));
  auto sub = must(bus.subscriber<order>("orders"));
  REQUIRE(pub.publish(order{"QUOIT", {1, 2, 3}}));
  auto sample = must(sub.poll());
  REQUIRE(sample);
  const order got = must(sample.decode());
  CHECK(got.symbol == "QUOIT");
  CHECK(got.legs == std::vector<int>{1, 2, 3});
}

TEST_CASE("a type is aligned in shared memory as it asks") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<wide>("wide"));
  auto sub = must(bus.subscriber<wide>("wide"));
  for (std::uint64_t i = 0; i < 20; ++i) {
    REQUIRE(pub.publish(wide{{i}}));
    auto sample = must(sub.poll());
    CHECK(reinterpret_cast<std::uintptr_t>(sample.data().data()) % 64 == 0);
    CHECK(sample->value[0] == i);
  }
}

TEST_CASE("buses do not see each other") {
  const bus_guard one, two;
  auto a = open(one);
  auto b = open(two);
  auto pub = must(a.publisher<point>("points"));
  auto sub = must(b.subscriber<point>("points"));
  REQUIRE(pub.publish({1, 2}));
  CHECK_FALSE(must(sub.poll()));
  CHECK(sub.publishers() == 0);
  CHECK(pub.subscribers() == 0);
}

TEST_CASE("each subscriber gets everything of each publisher, in its order") {
  const bus_guard name;
  auto bus = open(name);
  std::vector<quoit::subscriber<checked>> subs;
  std::vector<quoit::publisher<checked>> pubs;
  subs.push_back(must(bus.subscriber<checked>("t")));
  for (int i = 0; i < 3; ++i) pubs.push_back(must(bus.publisher<checked>("t")));
  subs.push_back(must(bus.subscriber<checked>("t")));
  for (std::uint64_t n = 0; n < 50; ++n) {
    for (std::uint64_t p = 0; p < pubs.size(); ++p) REQUIRE(pubs[p].publish(checked::make(p, n)));
  }
  for (auto& sub : subs) {
    std::uint64_t next[3] = {};
    int total = 0;
    for (auto s = must(sub.poll()); s; s = must(sub.poll())) {
      REQUIRE(s->intact());
      REQUIRE(s->number == next[s->publisher]++);
      ++total;
    }
    CHECK(total == 150);
  }
}

TEST_CASE("under overwrite the publisher never waits, and a subscriber learns what it lost") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<checked>("t", {.policy = policy::overwrite, .capacity_bytes = 8192}));
  auto sub = must(bus.subscriber<checked>("t"));
  CHECK(pub.never_refuses());
  for (std::uint64_t n = 0; n < 5000; ++n) REQUIRE(pub.publish(checked::make(0, n)));
  std::uint64_t lost = 0, received = 0;
  for (;;) {
    auto s = sub.poll();
    if (!s) {
      REQUIRE(s.error().code() == errc::lagged);
      lost += s.error().value();
      continue;
    }
    if (!*s) break;
    REQUIRE((*s)->number == lost + received);
    ++received;
  }
  CHECK(lost + received == 5000);
  CHECK(sub.lost() == lost);
}

TEST_CASE("a subscription begins at the latest, the earliest or the last n messages") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<checked>("t", {.history = 100}));
  for (std::uint64_t n = 0; n < 1000; ++n) REQUIRE(pub.publish(checked::make(0, n)));
  auto latest = must(bus.subscriber<checked>("t"));
  CHECK_FALSE(must(latest.poll()));
  auto last = must(bus.subscriber<checked>("t", {.start = quoit::start::last(100)}));
  for (std::uint64_t n = 900; n < 1000; ++n) REQUIRE(must(last.poll())->number == n);
  auto earliest = must(bus.subscriber<checked>("t", {.start = quoit::start::earliest}));
  auto first = must(earliest.poll());
  REQUIRE(first);
  CHECK(first->number < 900);
}

TEST_CASE("a subscriber that was there first gets the first message of a publisher that comes and goes") {
  const bus_guard name;
  auto bus = open(name);
  auto sub = must(bus.subscriber<checked>("t"));
  for (std::uint64_t p = 0; p < 5; ++p) {
    auto pub = must(bus.publisher<checked>("t"));
    for (std::uint64_t n = 0; n < 10; ++n) REQUIRE(pub.publish(checked::make(p, n)));
  }
  CHECK(sub.publishers() == 0);
  for (std::uint64_t p = 0; p < 5; ++p) {
    for (std::uint64_t n = 0; n < 10; ++n) {
      auto s = must(sub.poll());
      REQUIRE(s);
      CHECK(s->intact());
    }
  }
  CHECK_FALSE(must(sub.poll()));
  // Their lanes are gone by now, but for the files of the topic and the bus.
  CHECK_FALSE(must(sub.poll()));
  CHECK(name.files().size() == 2);
}

TEST_CASE("publishers that come and go faster than anybody reads go on in lanes of those who left") {
  const bus_guard name;
  auto bus = open(name);
  auto sub = must(bus.subscriber<checked>("t", {.limits = {.publishers_max = 4}}));
  std::uint64_t published = 0;
  for (std::uint64_t p = 0; p < 100; ++p) {
    auto pub = must(bus.publisher<checked>("t"));
    for (int i = 0; i < 3; ++i) REQUIRE(pub.publish(checked::make(p, published++)));
  }
  std::uint64_t received = 0;
  for (auto s = must(sub.poll()); s; s = must(sub.poll())) {
    REQUIRE(s->intact());
    ++received;
  }
  CHECK(received == published);
}

TEST_CASE("handles can be moved while samples and loans are out, and may go before them") {
  const bus_guard name;
  auto bus = std::make_unique<quoit::bus>(open(name));
  auto pub = std::make_unique<quoit::publisher<checked>>(must(bus->publisher<checked>("t")));
  auto sub = std::make_unique<quoit::subscriber<checked>>(must(bus->subscriber<checked>("t")));
  REQUIRE(pub->publish(checked::make(0, 0)));
  auto loan = must(pub->try_loan());
  auto sample = must(sub->poll());
  auto moved_pub = std::move(*pub);
  auto moved_sub = std::move(*sub);
  pub.reset();
  sub.reset();
  bus.reset();
  REQUIRE(sample);
  CHECK(sample->intact());
  {
    const auto gone = std::move(moved_pub);
    const auto gone_too = std::move(moved_sub);
  }
  CHECK(sample->intact());
  std::move(loan).publish();  // into nothing
}

TEST_CASE("a batch is everything that lies together") {
  const bus_guard name;
  auto bus = open(name);
  auto pub = must(bus.publisher<checked>("t"));
  auto sub = must(bus.subscriber<checked>("t"));
  std::vector<checked> messages;
  for (std::uint64_t n = 0; n < 500; ++n) messages.push_back(checked::make(0, n));
  CHECK(must(pub.publish_batch(messages)) == 500);
  std::uint64_t next = 0;
  int batches = 0;
  for (auto batch = must(sub.poll_batch()); batch; batch = must(sub.poll_batch())) {
    ++batches;
    for (const checked& m : batch) REQUIRE((m.intact() && m.number == next++));
  }
  CHECK(next == 500);
  CHECK(batches < 20);
}

TEST_CASE("stamps are the time of publishing, and only where they were asked for") {
  const bus_guard name;
  auto bus = open(name);
  auto stamped = must(bus.publisher<point>("a", {.stamped = true}));
  auto plain = must(bus.publisher<point>("b"));
  auto sub_a = must(bus.subscriber<point>("a"));
  auto sub_b = must(bus.subscriber<point>("b"));
  const auto before = std::chrono::system_clock::now();
  REQUIRE(stamped.publish({1, 2}));
  REQUIRE(plain.publish({1, 2}));
  const auto after = std::chrono::system_clock::now();
  const auto time = must(sub_a.poll()).time();
  CHECK(time >= before);
  CHECK(time <= after);
  CHECK(must(sub_b.poll()).time().time_since_epoch().count() == 0);
}

TEST_CASE("waiting wakes for a message, for each wait strategy") {
  for (const auto how : {quoit::wait::adaptive, quoit::wait::spin, quoit::wait::block}) {
    const bus_guard name;
    auto bus = open(name, {.wait = how});
    auto sub = must(bus.subscriber<checked>("t"));
    std::thread other([&] {
      auto mine = open(name);
      auto pub = must(mine.publisher<checked>("t"));
      for (std::uint64_t n = 0; n < 50; ++n) {
        std::this_thread::sleep_for(500us);
        if (!pub.publish(checked::make(0, n))) return;
      }
    });
    for (std::uint64_t n = 0; n < 50; ++n) CHECK(must(sub.wait(60s))->number == n);
    other.join();
    const auto nothing = sub.wait(1ms);
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().code() == errc::timed_out);
  }
}

TEST_CASE("one thread waits for several topics on one word") {
  const bus_guard name;
  auto bus = open(name, {.wait = quoit::wait::block});
  auto a = must(bus.subscriber<point>("a"));
  auto b = must(bus.subscriber<checked>("b"));
  auto c = must(bus.subscriber<quoit::text>("c"));
  CHECK(bus.wait_any(1ms, a, b, c).error().code() == errc::timed_out);
  std::thread other([&] {
    auto mine = open(name);
    auto pub = must(mine.publisher<quoit::text>("c"));
    std::this_thread::sleep_for(2ms);
    if (!pub.publish("hello")) return;
  });
  // A publisher that comes is looked at too: until there is a message.
  for (;;) {
    const std::size_t which = must(bus.wait_any(60s, a, b, c));
    REQUIRE(which == 2);
    auto sample = must(c.poll());
    if (!sample) continue;
    CHECK(*sample == "hello");
    break;
  }
  other.join();
}

TEST_CASE("a publisher that waits for space goes on when a subscriber reads, and when it leaves") {
  for (const bool reads : {true, false}) {
    const bus_guard name;
    auto bus = open(name, {.wait = quoit::wait::block, .recheck = 1h});
    auto pub = must(bus.publisher<checked>("t"));
    std::atomic<bool> full{false};
    std::thread other([&] {
      auto mine = open(name);
      auto sub = must(mine.subscriber<checked>("t"));
      until([&] { return full.load(); });
      std::this_thread::sleep_for(2ms);
      while (reads) {
        auto s = sub.poll();
        if (!s || !*s) break;
      }
    });
    until([&] { return pub.subscribers() == 1; });
    while (pub.publish(checked::make(0, 0))) {
    }
    full = true;
    CHECK(pub.loan_for(60s));
    other.join();
  }
}

TEST_CASE("topics that go while a bus is inspected are not listed as problems") {
  const bus_guard name;
  auto bus = open(name);
  std::atomic<bool> over = false;
  std::thread makes([&] {
    auto theirs = open(name);
    while (!over) {
      const auto one = theirs.publisher<point>("one");
      const auto two = theirs.publisher<point>("two");
    }
  });
  for (int i = 0; i < 3000; ++i) {
    for (const auto& topic : must(quoit::inspect(name.name())).topics) CHECK(topic.problem == "");
  }
  over = true;
  makes.join();
}

TEST_CASE("inspecting a bus shows its nodes, topics, publishers and subscriptions") {
  const bus_guard name;
  CHECK(quoit::inspect(name.name()).error().code() == errc::not_found);
  auto bus = open(name, {.node_name = "here"});
  auto pub = must(bus.publisher<point>("some/points", {.policy = policy::overwrite}));
  auto sub = must(bus.subscriber<point>("some/points"));
  for (int i = 0; i < 10; ++i) REQUIRE(pub.publish({1, 2}));
  const quoit::bus_info info = must(quoit::inspect(name.name()));
  REQUIRE(info.nodes.size() == 1);
  CHECK(info.nodes[0].name == "here");
  CHECK(info.nodes[0].alive);
  REQUIRE(info.topics.size() == 1);
  const quoit::topic_info& t = info.topics[0];
  CHECK(t.name == "some/points");
  CHECK(t.type_bytes == 16);
  CHECK(t.type_fields == "x:f64@0 y:f64@8");
  REQUIRE(t.publishers.size() == 1);
  CHECK(t.publishers[0].messages == 10);
  CHECK(t.publishers[0].policy == policy::overwrite);
  CHECK(t.publishers[0].state == "active");
  REQUIRE(t.subscriptions.size() == 1);
  const auto buses = quoit::list_buses();
  CHECK(std::find(buses.begin(), buses.end(), name.name()) != buses.end());
}

TEST_CASE("a subscriber that a publisher has seen gets the next message") {
  const bus_guard name;
  const int rounds = fast() || under_tsan ? 20 : 200;
  auto bus = quoit::bus::open(name.name()).value();
  auto theirs = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  std::atomic<int> missed = 0;
  for (int i = 0; i < rounds; ++i) {
    std::thread comes([&] {
      auto sub = theirs.subscriber<checked>("t").value();
      const auto first = sub.wait(60s);
      if (!first || (*first)->number != static_cast<std::uint64_t>(i)) ++missed;
    });
    while (pub.subscribers() == 0) {
    }
    CHECK(pub.publish(checked::make(1, static_cast<std::uint64_t>(i))));
    CHECK(pub.publish(checked::make(1, 1'000'000)));  // who missed the first gets this one
    comes.join();
  }
  CHECK(missed == 0);
}
