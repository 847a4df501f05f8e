// Publishers of topics on disk: what is published is there, whoever comes and goes, and what happens when the disk is
// slow, full or broken.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <quoit.hpp>
#include <quoit/inspect.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/disk_fixture.hpp"
#include "support/messages.hpp"
#include "topic/names.hpp"
#include "topic/topic.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::durability;
using quoit::errc;

// What storage asks of the system goes through here, in this program alone.
extern "C" int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  // Files of the bus are allocated in the same way.
  const bool segment = bytes == static_cast<off_t>(small_segment);
  if (segment) wait_for_disk();
  if (segment && disk_full) {
    errno = ENOSPC;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes));
}
extern "C" int fdatasync(int fd) {
  wait_for_disk();
  ++syncs;
  if (sync_errors > 0) {
    --sync_errors;
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

TEST_CASE("what was published is on disk when its publisher is gone, and the next one goes on behind it") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  for (u64 turn = 0; turn < 3; ++turn) {
    auto bus = must(quoit::bus::open(name.name()));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
    CHECK(pub.sequence() == turn * 2000);
    CHECK(pub.recovery().cut.empty());
    publish_all(pub, turn * 2000, (turn + 1) * 2000);
    CHECK(count_in(directory) == (turn + 1) * 2000);  // while it lives
  }
  CHECK(count_in(directory) == 6000);
  check_whole(directory);
  CHECK(list_segments(lane_directory(directory.path(), "t", "0")).size() > 5);
}

TEST_CASE("publishers of a topic have lanes of their own, and a name has one holder, who is named") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto other_bus = must(quoit::bus::open(name.name()));
  auto first = must(bus.publisher<checked>("t", on_disk(directory, "first")));
  auto second = must(other_bus.publisher<checked>("t", on_disk(directory, "second")));
  const auto refused = other_bus.publisher<checked>("t", on_disk(directory, "first"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::busy);
  CHECK(has(message_of(refused.error()), std::to_string(::getpid())));
  publish_all(first, 0, 700, 1);
  publish_all(second, 0, 900, 2);
  CHECK(count_in(directory, "first", 1) == 700);
  CHECK(count_in(directory, "second", 2) == 900);

  const auto info = must(quoit::inspect(name.name()));
  REQUIRE(info.topics.size() == 1);
  CHECK(info.topics[0].directory == std::filesystem::canonical(directory.path()));
  REQUIRE(info.topics[0].publishers.size() == 2);
  CHECK(info.topics[0].publishers[0].name == "first");
  CHECK(info.topics[0].publishers[1].name == "second");
  CHECK(info.topics[0].publishers[1].state == "active");
}

namespace before {
struct tick {
  double bid, ask;
};
QUOIT_FIELDS(tick, bid, ask)
}  // namespace before
namespace after {
struct tick {
  double bid;
  u64 ask;
};
QUOIT_FIELDS(tick, bid, ask)
}  // namespace after

TEST_CASE("a type that differs in one field from the one on disk is refused with that field") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  {
    auto pub = must(bus.publisher<before::tick>("t", on_disk(directory)));
    REQUIRE(pub.publish({1, 2}));
  }
  const auto pub = bus.publisher<after::tick>("t", on_disk(directory));
  const auto sub = bus.subscriber<after::tick>("t", {.directory = directory.path()});
  const auto again = quoit::replay<after::tick>::open(directory.path(), "t");
  REQUIRE_FALSE(pub);
  REQUIRE_FALSE(sub);
  REQUIRE_FALSE(again);
  for (const errc code : {pub.error().code(), sub.error().code(), again.error().code()}) {
    CHECK(code == errc::type_mismatch);
  }
  for (const std::string& words : {pub.error().message(), sub.error().message(), again.error().message()}) {
    CHECK_MESSAGE(words.ends_with(": field ask is f64 at byte 8, asked for as u64 at byte 8"), words);
  }
}

TEST_CASE("a topic on disk refuses another type, another place, memory, and the kernel path") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  const scratch_directory other;
  {
    auto bus = must(quoit::bus::open(name.name()));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
    publish_all(pub, 0, 10);
    CHECK(bus.publisher<double>("t", on_disk(directory, "1")).error() == errc::type_mismatch);
    const auto elsewhere = bus.publisher<checked>("t", on_disk(other, "1"));
    REQUIRE_FALSE(elsewhere);
    CHECK(elsewhere.error() == errc::policy_conflict);
    CHECK(std::filesystem::is_empty(other.path()));  // and nothing was made there
    CHECK(bus.publisher<checked>("t").error() == errc::policy_conflict);
    // Who only reads need not say where.
    CHECK(bus.subscriber<checked>("t").has_value());
    CHECK(bus.subscriber<checked>("t", {.mode = quoit::mode::observer}).has_value());
  }
  auto bus = must(quoit::bus::open(name.name()));
  // Nobody is on the topic any more: the segments say what they carry.
  const auto mismatch = bus.publisher<double>("t", on_disk(directory));
  REQUIRE_FALSE(mismatch);
  CHECK(mismatch.error() == errc::type_mismatch);
  auto in_memory = must(bus.publisher<checked>("t"));
  CHECK(bus.publisher<checked>("t", on_disk(directory)).error() == errc::policy_conflict);
  CHECK(count_in(directory) == 10);

  auto kernel = must(quoit::bus::open(name.name(), {.transport = quoit::transport::kernel}));
  const auto refused = kernel.publisher<checked>("k", on_disk(directory));
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::invalid_argument);
  CHECK(has(message_of(refused.error()), "kernel"));
}

TEST_CASE("options of a topic on disk that cannot be are refused with what is wrong") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  const auto code_of = [&](auto change) {
    auto o = on_disk(directory);
    change(o);
    const auto opened = bus.publisher<checked>("t", o);
    return opened ? errc{} : opened.error().code();
  };
  CHECK(code_of([](auto& o) { o.publisher_name = "../up"; }) == errc::invalid_name);
  CHECK(code_of([](auto& o) { o.publisher_name = ""; }) == errc::invalid_name);
  CHECK(code_of([](auto& o) { o.segment_bytes = 1000; }) == errc::invalid_argument);
  CHECK(code_of([](auto& o) { o.durability = static_cast<durability>(9); }) == errc::invalid_argument);
  CHECK(code_of([](auto& o) { o.durability = durability::interval, o.flush_interval = 0ns; }) ==
        errc::invalid_argument);
  CHECK(code_of([](auto& o) { o.retention_age = -1ns; }) == errc::invalid_argument);
  CHECK(code_of([](auto& o) { o.loans_max = 0; }) == errc::invalid_argument);
  CHECK(code_of([](auto& o) { o.message_bytes_max = 10; }) == errc::invalid_argument);
  const std::string missing = directory.path() + "/missing/deep";
  CHECK(code_of([&](auto& o) { o.directory = missing; }) == errc::not_found);
  auto too_large = on_disk(directory);
  too_large.message_bytes_max = 1 << 20;
  const auto refused = bus.publisher<quoit::bytes>("b", too_large);
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::message_too_large);
  too_large.segment_bytes = refused.error().value();
  CHECK(bus.publisher<quoit::bytes>("b", too_large).has_value());
}

TEST_CASE("a message that is too large for a file says which size of file would do") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  u64 needed = 0;
  {
    auto pub = must(bus.publisher<quoit::bytes>("t", on_disk(directory)));
    CHECK(pub.capacity_bytes() == small_segment);
    CHECK(pub.try_loan_bytes(pub.message_bytes_max()).has_value());
    const auto refused = pub.try_loan_bytes(300'000);
    REQUIRE_FALSE(refused);
    CHECK(refused.error() == errc::message_too_large);
    needed = refused.error().value();
  }
  auto larger = on_disk(directory);
  larger.segment_bytes = needed;
  auto pub = must(bus.publisher<quoit::bytes>("t", larger));
  CHECK(pub.try_loan_bytes(300'000).has_value());
}

TEST_CASE("loans may be open across files, be published in any order, be dropped, and be in a batch") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  u64 n = 0;
  for (int turn = 0; turn < 20; ++turn) {
    auto first = must(pub.loan_for(60s));
    auto dropped = must(pub.loan_for(60s));
    auto second = must(pub.loan_for(60s));
    *second = checked::make(0, n + 1);
    std::move(second).publish();
    {
      auto gone = std::move(dropped);
    }
    CHECK(count_in(directory) == n);  // hidden behind the first
    *first = checked::make(0, n);
    std::move(first).publish();
    n += 2;
    publish_all(pub, n, n + 300);
    n += 300;
    std::vector<checked> batch;
    for (u64 i = 0; i < 50; ++i) batch.push_back(checked::make(0, n + i));
    for (std::size_t done = 0; done < batch.size();) {
      const auto some = pub.publish_batch({batch.data() + done, batch.size() - done});
      if (!some) REQUIRE(some.error() == errc::would_block);
      done += some ? *some : 0;
    }
    n += 50;
  }
  CHECK(count_in(directory) == n);
  std::vector<quoit::loan<checked>> many;
  for (int i = 0; i < 8; ++i) many.push_back(must(pub.loan_for(60s)));
  CHECK(pub.try_loan().error() == errc::too_many_loans);
  many.clear();
  check_whole(directory);
}

TEST_CASE("a loan that outlives its publisher holds the lane, and what is written there late is not found") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  std::optional<quoit::loan<checked>> late;
  {
    auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
    publish_all(pub, 0, 100);
    late.emplace(must(pub.loan_for(60s)));
  }
  CHECK(bus.publisher<checked>("t", on_disk(directory)).error() == errc::busy);
  **late = checked::make(0, 4711);
  std::move(*late).publish();
  check_whole(directory);
  CHECK(count_in(directory) == 100);
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  CHECK(pub.recovery().cut.empty());
  publish_all(pub, 100, 200);
  CHECK(count_in(directory) == 200);
}

TEST_CASE("a publisher outlives its bus") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  std::optional<quoit::bus> bus(must(quoit::bus::open(name.name())));
  auto pub = must(bus->publisher<checked>("t", on_disk(directory)));
  bus.reset();
  publish_all(pub, 0, 2000);
  CHECK(pub.flush_for(60s).has_value());
  CHECK(count_in(directory) == 2000);
}

TEST_CASE("whoever waits for a message of a topic on disk is fired as by any publisher") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  const auto waiting = must(node::open(name.name(), {.recheck = 10ms}));
  auto opened = must(topic::open_file(waiting, topic_file(name.name(), "t"), 1s));
  subscription_entry& entry = opened.control.subscription(0);
  entry.node = waiting->id().index;
  entry.node_generation = waiting->id().generation;
  entry.ready_bit = 5;
  store_release(entry.state, static_cast<u64>(participant_state::active));  // sync(topic.entry)
  CHECK(pub.subscribers() == 1);
  for (const bool batch : {false, true}) {
    fetch_or(opened.control.header().armed[0], 1);  // sync(wake.armed)
    CHECK_FALSE(waiting->any_ready());
    const checked m = checked::make(0, batch);
    if (batch) {
      CHECK(must(pub.publish_batch({&m, 1})) == 1);
    } else {
      must(pub.publish(m));
    }
    CHECK(load_relaxed(opened.control.header().armed[0]) == 0);
    CHECK(waiting->take_ready());
  }
  opened.control.remove_subscription(*waiting, 0);
}

TEST_CASE("what a power failure tore is cut when the lane is opened again, and said") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  {
    auto bus = must(quoit::bus::open(name.name()));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
    publish_all(pub, 0, 100);
  }
  const std::string lane = lane_directory(directory.path(), "t", "0");
  {
    auto file = must(open_segment(lane, 1, access::read_write));
    file->data()[99 * file->geometry.extent(sizeof(checked)) + 40] ^= std::byte{1};
  }
  restart_machine(lane);
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  const quoit::recovery_summary cut = pub.recovery();
  CHECK(has(cut.cut, "000000000001.seg"));
  CHECK(cut.cut_sequence == 99);
  CHECK(cut.bytes_cut > 0);
  // Message 99 had its sequence.
  CHECK(pub.sequence() >= 100);
  CHECK(cut.sequences_skipped == pub.sequence() - 99);
  publish_all(pub, 99, 150);
  CHECK(count_in(directory) == 150);
}

TEST_CASE("a publisher whose directory is another one by now gets errors, and harms nothing of the next one") {
  const good_disk disk;
  const bus_guard name;
  const bus_guard other_name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto other = must(quoit::bus::open(other_name.name()));
  {
    auto first = must(bus.publisher<checked>("t", on_disk(directory)));
    publish_all(first, 0, 700);
    std::filesystem::rename(directory.path() + "/t", directory.path() + "/old");
    auto second = must(other.publisher<checked>("t", on_disk(directory)));
    publish_all(second, 0, 2000);
    static_cast<void>(first.publish(checked::make(0, 700)));
    const auto flushed = first.flush_for(60s);
    REQUIRE_FALSE(flushed);
    CHECK(flushed.error() == errc::not_found);
    CHECK(has(message_of(flushed.error()), directory.path() + "/t/0/lane"));
    for (const auto& refused : {first.publish(checked::make(0, 701)), first.publish_for(checked::make(0, 701), 60s)}) {
      REQUIRE_FALSE(refused);
      CHECK(refused.error() == errc::not_found);
      CHECK(has(message_of(refused.error()), directory.path() + "/t/0/lane"));
    }
    CHECK(second.flush_for(60s).has_value());
  }
  CHECK(count_in(directory) == 2000);
  check_whole(directory);
}
