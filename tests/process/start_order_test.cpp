// Subscribers that are there before their publisher on disk: racing with it, and with publishers that die in the middle
// of moving the topic.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <quoit.hpp>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/kept_publisher.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"
#include "support/traced.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::bytes;

namespace {

constexpr const char* topic_name = "market/quotes";

// Reads on to the end: the number behind the last, or nothing where one was missing, or came twice.
bool read_on(quoit::subscriber<bytes>& sub, u64& next) {
  for (;;) {
    const auto sample = sub.poll();
    if (!sample) return std::fprintf(stderr, "%s\n", sample.error().message().c_str()), false;
    if (!*sample) return true;
    u64 n = 0;
    std::memcpy(&n, sample->data().data(), 8);
    if (n != next) {
      return std::fprintf(stderr, "%llu instead of %llu\n", static_cast<unsigned long long>(n),
                          static_cast<unsigned long long>(next)),
             false;
    }
    ++next;
  }
}

quoit::subscriber_options from(quoit::start where) {
  quoit::subscriber_options o;
  o.start = where;
  return o;
}

}  // namespace

TEST_CASE("a publisher on disk is killed at each of its system calls, and those who were there before miss nothing") {
  constexpr u64 before = 5, each = 3;
  constexpr int stops_max = 3000;
  int stop = 0;
  for (;; stop += fast() ? 13 : 3) {
    INFO("stop " << stop);
    REQUIRE(stop < stops_max);
    const bus_guard name;
    const scratch_directory directory;
    {
      kept_publisher(name.name(), directory.path(), topic_name, "a").publish(before);
    }
    ended how{};
    {
      auto bus = quoit::bus::open(name.name(), {.recheck = 10ms}).value();
      auto looks = bus.subscriber<bytes>(topic_name).value();
      auto waits = bus.subscriber<bytes>(topic_name, from(quoit::start::last(2))).value();
      how = run_until(
          [&] {
            kept_publisher(name.name(), directory.path(), topic_name, "a").publish(each);
            return 0;
          },
          stop);
      if (how == ended::no_tracing) QUOIT_SKIP("ptrace is not permitted here");
      u64 next = before, next_of_waiting = before - 2;
      REQUIRE(read_on(looks, next));
      u64 all = 0;
      {
        kept_publisher heir(name.name(), directory.path(), topic_name, "a");
        heir.publish(each);
        all = heir.published();
        REQUIRE(all <= before + 2 * each);
      }
      REQUIRE(read_on(looks, next));
      REQUIRE(read_on(waits, next_of_waiting));
      REQUIRE(next == all);
      REQUIRE(next_of_waiting == all);
      REQUIRE(looks.lost() == 0);
    }
    REQUIRE(name.files().empty());
    if (how == ended::over) break;
  }
  CHECK(stop > 100);
  MESSAGE(stop << " stops");
}

TEST_CASE("a publisher on disk and a subscriber without a directory that come at the same time find each other") {
  constexpr u64 messages = 20;
  const int rounds = fast() ? 10 : 60;
  for (int round = 0; round < rounds; ++round) {
    const bus_guard name;
    const scratch_directory directory;
    int go[2];
    REQUIRE(::pipe(go) == 0);
    const auto wait_for_go = [&] {
      ::close(go[1]);
      char c;
      return ::read(go[0], &c, 1) == 0;
    };
    const auto subscribes = [&] {
      if (!wait_for_go()) return 1;
      auto bus = quoit::bus::open(name.name()).value();
      auto sub = bus.subscriber<bytes>(topic_name);
      if (!sub) return std::fprintf(stderr, "%s\n", sub.error().message().c_str()), 2;
      u64 next = 0;
      while (next < messages) {
        if (auto ready = bus.wait_any(60s, *sub); !ready) return 3;
        if (!read_on(*sub, next)) return 4;
      }
      return 0;
    };
    quoit::test::child one(subscribes), another(subscribes);
    quoit::test::child publishes([&] {
      if (!wait_for_go()) return 1;
      auto bus = quoit::bus::open(name.name()).value();
      quoit::publisher_options options;
      options.directory = directory.path();
      options.segment_bytes = segment_bytes_min;
      options.message_bytes_max = 4096;
      auto pub = bus.publisher<bytes>(topic_name, options);
      if (!pub) return std::fprintf(stderr, "%s\n", pub.error().message().c_str()), 2;
      until([&] { return pub->subscribers() == 2; });
      for (u64 n = 0; n < messages; ++n) {
        auto loan = pub->loan_bytes_for(size_of(n), 60s).value();
        write_message(loan.data().data(), size_of(n), n);
        std::move(loan).publish();
      }
      until([&] { return pub->subscribers() == 0; });
      return 0;
    });
    ::close(go[0]);
    ::close(go[1]);
    REQUIRE(one.wait().status == 0);
    REQUIRE(another.wait().status == 0);
    REQUIRE(publishes.wait().status == 0);
    REQUIRE(name.files().empty());
  }
}
