// A power failure takes the end of a topic on disk, and not what its subscribers committed.
#include <doctest/doctest.h>

#include <quoit.hpp>
#include <set>
#include <vector>

#include "storage/lane_records.hpp"
#include "support/bus_guard.hpp"
#include "support/disk_fixture.hpp"

using namespace quoit::test;
using quoit::start;

namespace {

log_writer_options lane_in(const scratch_directory& directory) {
  log_writer_options o;
  o.directory = directory.path();
  o.topic = "t";
  o.name = "0";
  return o;
}

quoit::subscriber_options audit_in(const scratch_directory& directory) {
  quoit::subscriber_options o;
  o.directory = directory.path();
  o.subscription_name = "audit";
  o.start = start::earliest;
  return o;
}

// The publisher was killed, the machine lost its power, and what is left of the lane ends before this sequence.
void lose_power(const scratch_directory& directory, u64 sequence) {
  const auto o = lane_in(directory);
  forget_end(must(open_lane_to_write(o.directory, o.topic, o.name)).header());
  lose_end(o, sequence);
  restart_machine(lane_directory(o.directory, o.topic, o.name));
}

}  // namespace

TEST_CASE("a subscription that was committed behind the end that a power failure left misses nothing of what follows") {
  // All was read and committed; or some, and nobody has the rest.
  for (const u64 committed : {u64{600}, u64{300}, u64{50}}) {
    INFO("committed " << committed);
    const scratch_directory directory;
    std::set<u64> sequences;
    const auto take = [&](quoit::subscriber<checked>& sub) {
      auto sample = must(sub.poll());
      REQUIRE(static_cast<bool>(sample));
      CHECK(sample->intact());
      // No sequence is seen twice.
      CHECK(sequences.insert(sample.sequence()).second);
      return sample->number;
    };
    {
      const bus_guard name;
      auto bus = must(quoit::bus::open(name.name()));
      auto sub = must(bus.subscriber<checked>("t", audit_in(directory)));
      auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
      publish_all(pub, 0, 600);
      for (u64 n = 0; n < committed; ++n) CHECK(take(sub) == n);
      must(sub.commit());
    }
    lose_power(directory, 100);
    const bus_guard name;
    auto bus = must(quoit::bus::open(name.name()));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
    CHECK(pub.sequence() >= 600);
    CHECK(pub.recovery().sequences_skipped == pub.sequence() - 100);
    publish_all(pub, 1000, 1500);
    auto sub = must(bus.subscriber<checked>("t", audit_in(directory)));
    for (u64 n = committed; n < 100; ++n) CHECK(take(sub) == n);
    for (u64 n = 1000; n < 1500; ++n) CHECK(take(sub) == n);
    CHECK(!must(sub.poll()));
    // What the power failure took was never there for it: only what was removed is lost().
    CHECK(sub.lost() == 0);
    must(sub.commit());
    publish_all(pub, 1500, 1510);
    for (u64 n = 1500; n < 1510; ++n) CHECK(take(sub) == n);
    CHECK(sequences.size() == committed + std::max<u64>(committed, 100) - committed + 510);
  }
}

TEST_CASE("a subscriber that is there when its publisher comes again behind a power failure receives what follows") {
  const scratch_directory directory;
  const bus_guard name;
  {
    auto bus = must(quoit::bus::open(name.name()));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
    publish_all(pub, 0, 600);
  }
  lose_power(directory, 100);
  auto bus = must(quoit::bus::open(name.name()));
  auto sub = must(bus.subscriber<checked>("t", audit_in(directory)));
  for (u64 n = 0; n < 100; ++n) CHECK(must(sub.poll())->number == n);
  CHECK(!must(sub.poll()));
  must(sub.commit());
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  publish_all(pub, 1000, 1500);
  for (u64 n = 1000; n < 1500; ++n) CHECK(must(sub.poll())->number == n);
  CHECK(sub.lost() == 0);
}
