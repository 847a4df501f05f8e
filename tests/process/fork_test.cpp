// A forked child has its parent's handles, and none of its rights.
#include <doctest/doctest.h>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

TEST_CASE("in a forked child every handle answers forked, and the parent goes on") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = std::make_unique<quoit::publisher<checked>>(bus.publisher<checked>("t").value());
  auto sub = std::make_unique<quoit::subscriber<checked>>(bus.subscriber<checked>("t").value());
  REQUIRE(pub->publish(checked::make(0, 0)));
  auto loan = std::make_unique<quoit::loan<checked>>(pub->try_loan().value());
  auto sample = std::make_unique<quoit::sample<checked>>(sub->poll().value());
  quoit::test::child forked([&] {
    if (pub->try_loan().error() != errc::forked) return 1;
    if (pub->loan_for(1s).error() != errc::forked) return 2;
    if (pub->publish(checked::make(9, 9)).error() != errc::forked) return 3;
    if (sub->poll().error() != errc::forked) return 4;
    if (sub->wait(1s).error() != errc::forked) return 5;
    if (bus.publisher<checked>("t").error() != errc::forked) return 6;
    if (bus.subscriber<checked>("t").error() != errc::forked) return 7;
    // What goes in the child goes there only.
    (*loan)->number = 77;
    std::move(*loan).publish();
    sample.reset();
    loan.reset();
    pub.reset();
    sub.reset();
    {
      auto gone = std::move(bus);
    }
    // A bus of its own works.
    auto mine = quoit::bus::open(name.name());
    if (!mine) return 8;
    auto own = mine->publisher<checked>("t");
    if (!own || !own->publish(checked::make(1, 100))) return 9;
    return 0;
  });
  CHECK(forked.wait().status == 0);
  CHECK((*sample)->number == 0);
  sample.reset();
  **loan = checked::make(0, 1);
  std::move(*loan).publish();
  // The parent's message and the child's own, in any order.
  bool from_parent = false, from_child = false;
  for (int i = 0; i < 2; ++i) {
    const auto s = sub->wait(60s).value();
    CHECK(s->intact());
    from_parent = from_parent || s->number == 1;
    from_child = from_child || s->number == 100;
  }
  CHECK(from_parent);
  CHECK(from_child);
  const auto info = quoit::inspect(name.name()).value();
  CHECK(info.nodes.size() == 1);
}

TEST_CASE("a parent that dies is dead, however long its forked child lives") {
  const bus_guard name;
  int ready[2], go[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(go) == 0);
  quoit::test::child parent([&] {
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t").value();
    if (!pub.publish(checked::make(0, 0))) return 1;
    const pid_t grandchild = ::fork();
    if (grandchild == 0) {
      // It holds mappings of its parent until the test is over. Descriptors were closed inside fork(): until it has
      // come out of there it keeps its parent's lock.
      if (::write(ready[1], "x", 1) != 1) ::_exit(2);
      ::close(go[1]);
      char c;
      if (::read(go[0], &c, 1) != 0) ::_exit(1);
      ::_exit(0);
    }
    for (;;) ::pause();
    return 0;
  });
  char c;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  parent.kill(SIGKILL);
  parent.wait();
  {
    // The byte of the dead is free: whoever opens the bus cleans up.
    auto bus = quoit::bus::open(name.name()).value();
    const auto info = quoit::inspect(name.name()).value();
    CHECK(info.nodes.size() == 1);
    CHECK(info.topics.empty());
  }
  CHECK(name.files().empty());
  for (const int fd : {ready[0], ready[1], go[0], go[1]}) ::close(fd);
}

TEST_CASE("in a forked child a topic on disk answers forked, and its files are its parent's") {
  const bus_guard name;
  const scratch_directory directory;
  auto bus = quoit::bus::open(name.name()).value();
  using publisher = quoit::publisher<checked>;
  using subscriber = quoit::subscriber<checked>;
  const quoit::publisher_options on_disk{.directory = directory.path(), .segment_bytes = 64 << 10};
  quoit::subscriber_options named{.start = quoit::start::earliest, .directory = directory.path()};
  named.subscription_name = "s";
  auto pub = std::make_unique<publisher>(bus.publisher<checked>("t", on_disk).value());
  auto sub = std::make_unique<subscriber>(bus.subscriber<checked>("t", named).value());
  auto replay = std::make_unique<quoit::replay<checked>>(quoit::replay<checked>::open(directory.path(), "t").value());
  // Several files, the first of which are held.
  for (std::uint64_t n = 0; n < 2000; ++n) REQUIRE(pub->publish_for(checked::make(0, n), 60s));
  auto sample = std::make_unique<quoit::sample<checked>>(sub->wait(60s).value());
  auto replayed = std::make_unique<quoit::sample<checked>>(replay->poll().value());
  auto loan = std::make_unique<quoit::loan<checked>>(pub->loan_for(60s).value());
  quoit::test::child forked([&] {
    if (pub->try_loan().error() != errc::forked || pub->publish(checked::make(9, 9)).error() != errc::forked) return 1;
    if (pub->flush_for(1s).error() != errc::forked || pub->durable_sequence() != 0) return 2;
    if (sub->poll().error() != errc::forked || sub->wait(1s).error() != errc::forked) return 3;
    if (sub->commit().error() != errc::forked || sub->position().error() != errc::forked) return 4;
    if (replay->poll().error() != errc::forked || replay->position().error() != errc::forked) return 5;
    if (replay->seek(quoit::start::earliest).error() != errc::forked) return 6;
    loan.reset();
    sample.reset();
    replayed.reset();
    pub.reset();
    sub.reset();
    replay.reset();
    {
      auto gone = std::move(bus);
    }
    // Its own is another publisher, beside the parent's; what is the parent's is the parent's alone.
    auto mine = quoit::bus::open(name.name()).value();
    if (mine.publisher<checked>("t", on_disk).error() != errc::busy) return 7;
    if (mine.subscriber<checked>("t", named).error() != errc::busy) return 8;
    quoit::publisher_options other = on_disk;
    other.publisher_name = "child";
    auto own = mine.publisher<checked>("t", other);
    if (!own || !own->publish_for(checked::make(1, 5000), 60s) || !own->flush_for(60s)) return 9;
    auto reader = quoit::replay<checked>::open(directory.path(), "t").value();
    std::uint64_t n = 0;
    for (auto s = reader.poll(); s && *s; s = reader.poll()) {
      if (!(*s)->intact()) return 10;
      n += (*s)->publisher == 0;
    }
    return n == 2000 ? 0 : 11;
  });
  CHECK(forked.wait().status == 0);
  CHECK((*sample)->number == 0);
  CHECK((*replayed)->number == 0);
  **loan = checked::make(0, 2000);
  std::move(*loan).publish();
  loan.reset();
  sample.reset();
  for (std::uint64_t n = 2001; n < 4000; ++n) REQUIRE(pub->publish_for(checked::make(0, n), 60s));
  CHECK(pub->flush_for(60s));
  std::uint64_t next = 1;
  while (next < 4000) {
    const auto s = sub->wait(60s).value();
    REQUIRE(s->intact());
    if (s->publisher == 1) continue;
    REQUIRE(s->number == next);
    ++next;
  }
  CHECK(sub->commit());
}
