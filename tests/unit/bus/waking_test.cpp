// Who sleeps is woken by whoever has something for it, and not by its recheck: that comes after an hour here.
#include <doctest/doctest.h>

#include <optional>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/skip.hpp"
#include "support/sleeper.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;

namespace {

// A ring that is soon full: eight strides of 512 bytes, seven messages a stride.
constexpr quoit::publisher_options small{.capacity_bytes = 4096, .strides = 8};

template <class Loan>
void fill(Loan& loan, std::uint64_t number) {
  *loan = checked::make(1, number);
}

// Takes and gives back what is there.
void drain(checked_subscriber& sub) {
  for (auto s = sub.poll(); s && *s; s = sub.poll()) {
  }
}

}  // namespace

TEST_CASE("a message wakes a subscriber that sleeps") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t").value();
    const auto reader = takes_one(name.name(), how, 7);
    reader->node().until_asleep();
    REQUIRE(pub.publish(checked::make(1, 7)));
  }
}

TEST_CASE("an older loan that hid a message wakes a subscriber that sleeps when it is published, and when it is not") {
  for (const way how : both_ways) {
    for (const bool published : {true, false}) {
      const bus_guard name;
      auto bus = quoit::bus::open(name.name()).value();
      auto pub = bus.publisher<checked>("t").value();
      const auto reader = takes_one(name.name(), how, published ? 0 : 1);
      const node_view node = reader->node();
      node.until_asleep();
      auto older = pub.try_loan().value();
      auto newer = pub.try_loan().value();
      fill(older, 0);
      fill(newer, 1);
      std::move(newer).publish();
      node.until_asleep();
      CHECK_FALSE(reader->done());
      if (published) {
        std::move(older).publish();
      } else {
        const auto abandoned = std::move(older);
      }
      reader->join();
    }
  }
}

TEST_CASE("a publisher that closes with a loan open wakes for the message that the loan hid") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    std::optional<checked_publisher> pub(bus.publisher<checked>("t").value());
    const auto reader = takes_one(name.name(), how, 1);
    const node_view node = reader->node();
    node.until_asleep();
    const auto older = pub->try_loan().value();
    auto newer = pub->try_loan().value();
    fill(newer, 1);
    std::move(newer).publish();
    node.until_asleep();
    pub.reset();
    // Here, and not when the last loan goes, which tells everybody that the lane is closed.
    reader->join();
  }
}

TEST_CASE("a publisher that comes, and one that leaves, wakes whoever sleeps") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    const auto reader = takes_one(name.name(), how, 3);
    const node_view node = reader->node();
    for (int i = 0; i < 3; ++i) {
      node.until_asleep();
      std::uint64_t before = node.sleeps();
      std::optional<checked_publisher> pub(bus.publisher<checked>("t").value());
      node.until_slept_again(before);
      before = node.sleeps();
      pub.reset();
      node.until_slept_again(before);
    }
    // What comes on a lane that is new to the subscriber too.
    auto pub = bus.publisher<checked>("t").value();
    node.until_asleep();
    REQUIRE(pub.publish(checked::make(1, 3)));
    reader->join();
  }
}

TEST_CASE("a subscriber that moves on wakes a publisher that waits for space") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    auto sub = bus.subscriber<checked>("t").value();
    const auto writer = needs_space(name.name(), how, small);
    writer->node().until_asleep();
    drain(sub);
  }
}

TEST_CASE("a subscriber that leaves wakes a publisher that waits for space, also if it never looked at its lane") {
  for (const way how : both_ways) {
    for (const bool looked : {true, false}) {
      const bus_guard name;
      auto bus = quoit::bus::open(name.name()).value();
      std::optional<checked_subscriber> sub(bus.subscriber<checked>("t").value());
      const auto writer = needs_space(name.name(), how, small);
      writer->node().until_asleep();
      if (looked) {
        // A look and no move: there is more in the stride.
        auto s = sub->poll();
        REQUIRE((s && *s));
        s->release();
        writer->node().until_asleep();
        CHECK_FALSE(writer->done());
      }
      sub.reset();
      writer->join();
    }
  }
}

TEST_CASE("the oldest sample that is held wakes a publisher that waits for space when it is given back") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    auto sub = bus.subscriber<checked>("t").value();
    const auto writer = needs_space(name.name(), how, small);
    const node_view node = writer->node();
    node.until_asleep();
    auto oldest = sub.poll().value();
    REQUIRE(oldest);
    auto second = sub.poll().value();
    drain(sub);
    second.release();
    node.until_asleep();
    CHECK_FALSE(writer->done());
    oldest.release();
    writer->join();
  }
}

TEST_CASE("a lossy subscriber that holds samples in every stride wakes a publisher when it gives one back") {
  if (under_tsan)
    QUOIT_SKIP("the subscriber changes threads by a sleep in the kernel, which the sanitizer does not see");
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    auto sub = bus.subscriber<checked>("t", {.mode = quoit::mode::lossy, .samples_max = 16}).value();
    std::vector<quoit::sample<checked>> held;
    std::function<void(checked_publisher&)> fills = [&](checked_publisher& pub) {
      for (std::uint64_t n = 0; pub.publish(checked::make(1, n)); ++n) {
        auto s = sub.poll();
        if (s && *s && n % 7 == 3) held.push_back(std::move(*s));
      }
    };
    const auto writer = std::make_unique<sleeper>(
        name.name(), how, std::function([](quoit::bus& b) { return b.publisher<checked>("t", small).value(); }),
        std::function([&](checked_publisher& pub) {
          fills(pub);
          CHECK(pub.loan_for(1h).has_value());
        }),
        std::function([&](checked_publisher& pub) -> quoit::task<> {
          fills(pub);
          CHECK((co_await pub.loan()).has_value());
        }));
    writer->node().until_asleep();
    REQUIRE(held.size() >= 6);
    held.clear();
    drain(sub);
    writer->join();
  }
}
