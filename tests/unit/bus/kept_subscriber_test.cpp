// Subscribers of topics on disk, on a bus.
#include <doctest/doctest.h>

#include <poll.h>

#include <atomic>
#include <optional>
#include <quoit.hpp>
#include <thread>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/kept_publisher.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::bytes;
using quoit::errc;
using quoit::start;

namespace {

constexpr const char* topic_name = "market/quotes";

struct kept_bus {
  kept_bus() : bus(quoit::bus::open(guard.name()).value()) {}

  std::unique_ptr<kept_publisher> publisher(const std::string& name = "a") {
    return std::make_unique<kept_publisher>(guard.name(), directory.path(), topic_name, name);
  }
  quoit::subscriber_options options(const start& from = start::earliest) const {
    quoit::subscriber_options o;
    o.directory = directory.path();
    o.start = from;
    return o;
  }
  quoit::subscriber<bytes> subscriber(const quoit::subscriber_options& o) {
    auto sub = bus.subscriber<bytes>(topic_name, o);
    INFO((sub ? std::string() : sub.error().message()));
    REQUIRE(sub.has_value());
    return std::move(*sub);
  }

  bus_guard guard;
  scratch_directory directory;
  quoit::bus bus;
};

u64 number_of(const quoit::sample<bytes>& sample) {
  REQUIRE(static_cast<bool>(sample));
  u64 n = 0;
  std::memcpy(&n, sample.data().data(), 8);
  CHECK(is_message(sample.data().data(), static_cast<u32>(sample.data().size()), n));
  CHECK(n == sample.sequence());
  return n;
}

u64 next_number_of(quoit::subscriber<bytes>& sub) { return number_of(sub.poll().value()); }

// Reads on to the end, from `begin`; the number behind the last.
u64 read_all(quoit::subscriber<bytes>& sub, u64 begin) {
  while (const auto sample = sub.poll().value()) CHECK(number_of(sample) == begin++);
  return begin;
}

}  // namespace

TEST_CASE("a subscriber of a topic on disk begins where it asks to, and goes on with what is published") {
  kept_bus kept;
  const auto pub = kept.publisher();
  pub->publish(1000);
  auto all = kept.subscriber(kept.options(start::earliest));
  auto latest = kept.subscriber(kept.options(start::latest));
  auto last = kept.subscriber(kept.options(start::last(10)));
  auto from = kept.subscriber(kept.options(start::sequence(777)));
  CHECK(all.publishers() == 1);
  CHECK(read_all(all, 0) == 1000);
  CHECK(read_all(last, 990) == 1000);
  CHECK(read_all(from, 777) == 1000);
  const auto place = all.position().value();
  pub->publish(500);
  CHECK(read_all(all, 1000) == 1500);
  CHECK(read_all(latest, 1000) == 1500);
  CHECK(read_all(last, 1000) == 1500);
  auto again = kept.subscriber(kept.options(start::at(place)));
  CHECK(read_all(again, 1000) == 1500);
  REQUIRE(again.seek(start::sequence(5)).has_value());
  CHECK(read_all(again, 5) == 1500);
  CHECK(again.lost() == 0);
}

TEST_CASE("a subscriber that sleeps is woken by a publisher on disk, also by one that comes later") {
  kept_bus kept;
  // Nobody has published here: it waits in a directory that it made.
  auto sub = kept.subscriber(kept.options());
  CHECK(!sub.poll().value());
  CHECK(sub.publishers() == 0);
  std::thread publishing([&] {
    for (const char* const name : {"a", "b"}) {
      std::this_thread::sleep_for(20ms);
      const auto pub = kept.publisher(name);
      for (int n = 0; n < 50; ++n) {
        if (n % 10 == 0) std::this_thread::sleep_for(2ms);
        pub->publish();
      }
    }
  });
  u64 next[2] = {};
  for (int n = 0; n < 100; ++n) {
    const auto sample = sub.wait(60s).value();
    u64& due = next[sample.publisher_name() == "a" ? 0 : 1];
    CHECK(number_of(sample) == due++);
  }
  publishing.join();
  CHECK(next[0] == 50);
  CHECK(next[1] == 50);
  CHECK(!sub.poll().value());
  const auto none = sub.wait(1ms);
  REQUIRE(!none.has_value());
  CHECK(none.error() == errc::timed_out);
}

TEST_CASE("a backlog is caught up with while it grows, without a gap or a message twice") {
  kept_bus kept;
  const auto pub = kept.publisher();
  pub->publish(20'000);
  std::atomic<bool> over = false;
  std::thread publishing([&] {
    for (int n = 0; n < 40'000; ++n) {
      pub->publish();
      if (n % 1000 == 0) std::this_thread::yield();
    }
    over = true;
  });
  auto sub = kept.subscriber(kept.options());
  u64 next = 0;
  while (next < 60'000) {
    const auto sample = sub.wait(60s).value();
    if (number_of(sample) != next) FAIL("message " << number_of(sample) << " where " << next << " was due");
    ++next;
  }
  publishing.join();
  CHECK(over);
  CHECK(!sub.poll().value());
}

TEST_CASE("a subscriber finds the directory of a topic that is open on the bus") {
  kept_bus kept;
  const auto pub = kept.publisher();
  pub->publish(10);
  auto sub = kept.subscriber({.start = start::last(3)});
  CHECK(read_all(sub, 7) == 10);
  auto observer = kept.subscriber({.mode = quoit::mode::observer, .start = start::earliest});
  CHECK(read_all(observer, 0) == 10);
}

TEST_CASE("a topic is in one directory, or in memory, for all who come") {
  kept_bus kept;
  const auto pub = kept.publisher();
  const scratch_directory other;
  auto options = kept.options();
  options.directory = other.path();
  const auto elsewhere = kept.bus.subscriber<bytes>(topic_name, options);
  REQUIRE(!elsewhere.has_value());
  CHECK(elsewhere.error() == errc::policy_conflict);

  auto in_memory = kept.bus.publisher<bytes>("fast").value();
  const auto on_disk = kept.bus.subscriber<bytes>("fast", kept.options());
  REQUIRE(!on_disk.has_value());
  CHECK(on_disk.error() == errc::policy_conflict);
}

TEST_CASE("what is for topics on disk is refused elsewhere") {
  kept_bus kept;
  auto pub = kept.bus.publisher<bytes>("fast").value();
  auto sub = kept.bus.subscriber<bytes>("fast").value();
  CHECK(sub.seek(start::earliest).error() == errc::invalid_argument);
  CHECK(sub.position().error() == errc::invalid_argument);
  CHECK(sub.commit().error() == errc::invalid_argument);
  const auto refused = [&](quoit::subscriber_options o) {
    const auto r = kept.bus.subscriber<bytes>("fast", o);
    REQUIRE(!r.has_value());
    CHECK(r.error() == errc::invalid_argument);
    CHECK(r.error().words().find("on disk") != std::string_view::npos);
  };
  refused({.start = start::sequence(1)});
  refused({.subscription_name = "audit"});
  auto unnamed = kept.subscriber(kept.options());
  CHECK(unnamed.commit().error() == errc::invalid_argument);
  auto options = kept.options();
  options.mode = quoit::mode::observer;
  options.subscription_name = "audit";
  CHECK(kept.bus.subscriber<bytes>(topic_name, options).error() == errc::invalid_argument);
  const bus_guard by_kernel;
  auto kernel = quoit::bus::open(by_kernel.name(), {.transport = quoit::transport::kernel}).value();
  const auto no_way = kernel.subscriber<bytes>(topic_name, kept.options());
  REQUIRE(!no_way.has_value());
  CHECK(no_way.error() == errc::invalid_argument);
}

TEST_CASE("a type that the files do not carry is refused, without a publisher too") {
  kept_bus kept;
  kept.publisher()->publish(3);
  const auto typed = kept.bus.subscriber<u64>(topic_name, kept.options());
  REQUIRE(!typed.has_value());
  CHECK(typed.error() == errc::type_mismatch);
  // And it has left nothing on the bus.
  auto sub = kept.subscriber(kept.options());
  CHECK(read_all(sub, 0) == 3);
}

TEST_CASE("a named subscription goes on behind its commit, with one holder at a time") {
  kept_bus kept;
  const auto pub = kept.publisher();
  pub->publish(100);
  auto options = kept.options(start::sequence(10));
  options.subscription_name = "audit";
  {
    auto sub = kept.subscriber(options);
    const auto other = kept.bus.subscriber<bytes>(topic_name, options);
    REQUIRE(!other.has_value());
    CHECK(other.error() == errc::busy);
    for (u64 n = 10; n < 50; ++n) CHECK(next_number_of(sub) == n);
    REQUIRE(sub.commit().has_value());
    for (u64 n = 50; n < 60; ++n) CHECK(next_number_of(sub) == n);
  }
  {
    auto sub = kept.subscriber(options);
    CHECK(next_number_of(sub) == 50);
    const auto held = sub.poll().value();
    CHECK(number_of(held) == 51);
    CHECK(next_number_of(sub) == 52);
    REQUIRE(sub.commit().has_value());
  }
  auto sub = kept.subscriber(options);
  CHECK(read_all(sub, 51) == 100);
  REQUIRE(sub.commit().has_value());
}

TEST_CASE("a subscriber of a topic on disk is awaited as any other") {
  kept_bus kept;
  auto executor = quoit::executor::create().value();
  auto bus = quoit::bus::open(executor, kept.guard.name()).value();
  std::atomic<int> stage = 0;
  std::thread publishing([&] {
    const auto pub = kept.publisher();
    pub->publish(10);
    stage = 1;
    while (stage != 2) std::this_thread::sleep_for(1ms);
    for (int n = 0; n < 100; ++n) {
      std::this_thread::sleep_for(500us);
      pub->publish();
    }
  });
  while (stage != 1) std::this_thread::sleep_for(1ms);
  u64 got = 0;
  const auto receive = [&]() -> quoit::task<> {
    // Nothing of what it is given lives until it runs.
    auto opening = [&] {
      const std::string directory = kept.directory.path();
      const std::string name = "audit-of-a-subscription-with-a-long-name";
      const auto place = quoit::cursor::parse("a:5").value();
      quoit::subscriber_options o;
      o.directory = directory;
      o.subscription_name = name;
      o.start = start::at(place);
      return bus.subscriber_async<bytes>(std::string("market/") + "quotes", o);
    }();
    auto sub = (co_await std::move(opening)).value();
    for (u64 n = 5; n < 10; ++n) {
      const auto sample = (co_await sub.next()).value();
      CHECK(number_of(sample) == n);
    }
    stage = 2;
    for (got = 10; got < 60; ++got) {
      const auto sample = (co_await sub.next()).value();
      CHECK(number_of(sample) == got);
    }
    while (got < 110) {
      auto batch = (co_await sub.next_batch()).value();
      for (auto at = batch.begin(); at != batch.end(); ++at) CHECK(at.sequence() == got++);
    }
    CHECK(sub.commit().has_value());
  };
  executor.run(receive());
  publishing.join();
  CHECK(got == 110);
}

TEST_CASE("one thread waits for topics in memory and on disk together") {
  kept_bus kept;
  auto fast = kept.bus.publisher<bytes>("fast").value();
  auto in_memory = kept.bus.subscriber<bytes>("fast").value();
  auto on_disk = kept.subscriber(kept.options());
  std::thread publishing([&] {
    std::this_thread::sleep_for(20ms);
    kept.publisher()->publish();
  });
  CHECK(kept.bus.wait_any(60s, in_memory, on_disk).value() == 1);
  CHECK(next_number_of(on_disk) == 0);
  publishing.join();
}

TEST_CASE("the descriptor of a subscriber of a topic on disk is readable while there is something") {
  kept_bus kept;
  const auto pub = kept.publisher();
  auto sub = kept.subscriber(kept.options());
  pollfd ready{sub.fd().value(), POLLIN, 0};
  u64 next = 0;
  for (u64 due = 3; due <= 60; due += 3) {
    CHECK(!sub.poll().value());
    std::thread publishing([&] {
      std::this_thread::sleep_for(2ms);
      pub->publish(3);
    });
    while (next < due) {
      REQUIRE(::poll(&ready, 1, 60'000) == 1);
      while (const auto sample = sub.poll().value()) CHECK(number_of(sample) == next++);
    }
    publishing.join();
  }
}

TEST_CASE("the descriptor of a subscriber of a topic on disk is readable after a seek") {
  kept_bus kept;
  kept.publisher()->publish(3);
  auto sub = kept.subscriber(kept.options());
  pollfd ready{sub.fd().value(), POLLIN, 0};
  for (u64 n = 0; n < 3; ++n) CHECK(next_number_of(sub) == n);
  while (::poll(&ready, 1, 0) == 1) CHECK(!sub.poll().value());
  REQUIRE(sub.seek(start::earliest).has_value());
  REQUIRE(::poll(&ready, 1, 0) == 1);
  CHECK(next_number_of(sub) == 0);
}

TEST_CASE("an observer of a topic on disk sees it all, and is entered nowhere") {
  kept_bus kept;
  auto options = kept.options();
  options.mode = quoit::mode::observer;
  const auto missing = kept.bus.subscriber<bytes>(topic_name, options);
  REQUIRE(!missing.has_value());
  CHECK(missing.error() == errc::not_found);
  const auto pub = kept.publisher();
  pub->publish(5);
  auto observer = kept.subscriber(options);
  CHECK(read_all(observer, 0) == 5);
  CHECK(observer.publishers() == 1);
  std::thread publishing([&] {
    std::this_thread::sleep_for(20ms);
    pub->publish();
    kept.publisher("b")->publish();
  });
  CHECK(number_of(observer.wait(60s).value()) == 5);
  const auto sample = observer.wait(60s).value();
  CHECK(sample.publisher_name() == "b");
  publishing.join();
}

TEST_CASE("a forked child has nothing of a topic on disk but errors") {
  kept_bus kept;
  const auto pub = kept.publisher();
  pub->publish(10);
  auto sub = std::make_optional(kept.subscriber(kept.options()));
  auto sample = sub->poll().value();
  quoit::test::child forked([&] {
    const bool all = sub->poll().error() == errc::forked && sub->seek(start::earliest).error() == errc::forked &&
                     sub->position().error() == errc::forked && sub->commit().error() == errc::forked;
    sample.release();
    sub.reset();
    return all ? 0 : 1;
  });
  CHECK(forked.wait().status == 0);
  CHECK(number_of(sample) == 0);
  sample.release();
  CHECK(read_all(*sub, 1) == 10);
}

TEST_CASE("a message behind a loan of a dead publisher comes once it is known that he is dead") {
  kept_bus kept;
  kept.guard.expect_leftovers();
  {
    const auto first = kept.publisher();
    first->publish(3);
  }
  auto sub = kept.subscriber(kept.options());
  quoit::test::child publisher([&] {
    kept_publisher pub(kept.guard.name(), kept.directory.path(), topic_name, "a");
    pub.publish(2);
    [[maybe_unused]] const auto open = pub.leave_a_loan_open();
    pub.publish(2);
    ::kill(::getpid(), SIGKILL);
    return 0;
  });
  CHECK(publisher.wait().signal == SIGKILL);
  u64 due[] = {0, 1, 2, 3, 4, 6, 7};
  for (const u64 n : due) CHECK(number_of(sub.wait(60s).value()) == n);
  CHECK(!sub.poll().value());
}

TEST_CASE("what retention removed is lagged with its count, and what is damaged is named") {
  kept_bus kept;
  const auto pub = kept.publisher();
  pub->publish(3000);
  auto sub = kept.subscriber(kept.options());
  CHECK(next_number_of(sub) == 0);
  // As retention does it: whole files, from the oldest on, and none that somebody is in.
  const std::string lane = kept.directory.path() + "/market+quotes/a";
  const auto numbers = list_segments(lane);
  REQUIRE(numbers.size() > 5);
  CHECK(!remove_segment(lane, numbers[0]).has_value());
  for (std::size_t i = 1; i < 4; ++i) REQUIRE(remove_segment(lane, numbers[i]).has_value());
  u64 next = 1;
  u64 lost = 0;
  while (next < 3000) {
    const auto sample = sub.poll();
    if (!sample) {
      REQUIRE(sample.error() == errc::lagged);
      CHECK(lost == 0);
      lost = sample.error().value();
      next += lost;
      continue;
    }
    CHECK(number_of(*sample) == next++);
  }
  CHECK(lost > 0);
  CHECK(sub.lost() == lost);

  // The last one that was come to: there may be others, made ahead.
  std::size_t last = numbers.size();
  segment_start begin{};
  std::shared_ptr<segment_file> segment;
  do {
    segment = open_segment(lane, numbers[--last], access::read_write).value();
  } while (!segment->read_start(begin));
  std::memset(segment->data(), 0x33, 8);
  auto all = kept.subscriber(kept.options());
  for (;;) {
    const auto sample = all.poll();
    if (sample || sample.error() == errc::lagged) {
      REQUIRE((!sample || *sample));
      continue;
    }
    CHECK(sample.error() == errc::corrupt);
    CHECK(sample.error().words().find("/market+quotes/a/" + segment_name(numbers[last])) != std::string_view::npos);
    break;
  }
  CHECK(!all.poll().value());
}
