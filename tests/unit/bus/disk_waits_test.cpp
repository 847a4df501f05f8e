// Publishers of topics on disk that wait: for the next file, for the disk, and for being opened.
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

TEST_CASE("where the next file is not there yet, a loan would block, waits as long as it may, or is woken") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name(), {.recheck = 10min}));  // nobody looks around by himself
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  disk_waits = true;
  u64 n = 0;
  quoit::result<void> last;
  while ((last = pub.publish(checked::make(0, n)))) ++n;
  CHECK(last.error() == errc::would_block);
  CHECK(pub.blocked_by().subscription == quoit::blocker::nobody);
  // A file that was nearly made when the disk began to wait may come yet.
  while ((last = pub.publish_for(checked::make(0, n), 2ms))) ++n;
  CHECK(last.error() == errc::timed_out);
  // A thread is woken by the keeper, and not by its recheck.
  std::thread later([] {
    std::this_thread::sleep_for(20ms);
    disk_waits = false;
  });
  must(pub.publish_for(checked::make(0, n++), 60s));
  later.join();

  // So is a loop, also one that has nothing else to do.
  auto all = [](quoit::publisher<checked>& p, u64& number) -> quoit::task<> {
    for (int turn = 0; turn < 3; ++turn) {
      disk_waits = true;
      std::thread opener([] {
        std::this_thread::sleep_for(20ms);
        disk_waits = false;
      });
      for (u64 i = 0; i < 20 * per_segment; ++i) {
        auto loan = co_await p.loan();
        REQUIRE(loan.has_value());
        **loan = checked::make(0, number++);
        std::move(*loan).publish();
      }
      opener.join();
    }
  };
  quoit::sync_wait(all(pub, n));
  CHECK(count_in(directory) == n);
}

TEST_CASE("with policy fail nobody waits for the next file") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto o = on_disk(directory);
  o.policy = quoit::policy::fail;
  auto pub = must(bus.publisher<checked>("t", o));
  disk_waits = true;
  u64 n = 0;
  quoit::result<void> last;
  while ((last = pub.publish_for(checked::make(0, n), 60s))) ++n;
  CHECK(last.error() == errc::would_block);
  auto asked = [](quoit::publisher<checked>& p) -> quoit::task<errc> {
    const auto loan = co_await p.loan();
    co_return loan ? errc{} : loan.error().code();
  };
  errc answer{};
  while ((answer = quoit::sync_wait(asked(pub))) == errc{}) {
  }
  CHECK(answer == errc::would_block);
  disk_waits = false;  // or its end would wait for the helper for ever
}

TEST_CASE("a full disk refuses a loan in words, harms nothing, and publishing goes on when there is room") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  disk_full = true;
  u64 n = 0;
  quoit::result<void> last;
  while ((last = pub.publish_for(checked::make(0, n), 60s))) ++n;
  CHECK(last.error() == errc::no_space);
  CHECK(has(message_of(last.error()), "bytes are free"));
  auto asked = [](quoit::publisher<checked>& p) -> quoit::task<errc> {
    const auto loan = co_await p.loan();
    co_return loan ? errc{} : loan.error().code();
  };
  errc answer{};
  while ((answer = quoit::sync_wait(asked(pub))) == errc{}) {
  }
  CHECK(answer == errc::no_space);
  CHECK(count_in(directory) == n);
  disk_full = false;
  until([&] { return pub.publish(checked::make(0, n)).has_value(); });
  publish_all(pub, n + 1, n + 2000);
  CHECK(count_in(directory) == n + 2000);
  disk_full = true;
  const auto none = bus.publisher<checked>("t", on_disk(directory, "other"));
  REQUIRE_FALSE(none);
  CHECK(none.error() == errc::no_space);
}

TEST_CASE("a flush means the disk, in every durability, and says how far") {
  for (const durability how : {durability::os, durability::interval, durability::each}) {
    const good_disk disk;
    const bus_guard name;
    const scratch_directory directory;
    auto bus = must(quoit::bus::open(name.name()));
    auto o = on_disk(directory, "0", how);
    o.flush_interval = 10min;
    auto pub = must(bus.publisher<checked>("t", o));
    CHECK(pub.durable_sequence() == 0);
    u64 n = 0;
    // On this thread, and on the helper's.
    for (const auto timeout : {60s, 9s}) {
      publish_all(pub, n, n + 1500);
      n += 1500;
      if (how == durability::os) CHECK(pub.durable_sequence() < n);
      must(pub.flush_for(timeout));
      CHECK(pub.durable_sequence() == n);
      CHECK(must(log_reader::open(directory.path(), "t", "0", 4))->durable_position() > 0);
    }
    publish_all(pub, n, n + 100);
    CHECK(pub.durable_sequence() >= n);
    CHECK(pub.durable_sequence() <= n + 100);
    // What is behind an open loan is not asked for.
    auto open = must(pub.loan_for(60s));
    must(pub.publish_for(checked::make(0, 9999), 60s));
    must(pub.flush_for(60s));
    CHECK(pub.durable_sequence() == n + 100);
  }
}

TEST_CASE("an interval writes back by itself") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto o = on_disk(directory, "0", durability::interval);
  o.flush_interval = 1ms;
  auto pub = must(bus.publisher<checked>("t", o));
  publish_all(pub, 0, 100);
  until([&] { return pub.durable_sequence() == 100; });
}

TEST_CASE("co_await flush() is woken by the disk, and one call writes back what many ask for") {
  for (const durability how : {durability::os, durability::each}) {
    const good_disk disk;
    const bus_guard name;
    const scratch_directory directory;
    auto bus = must(quoit::bus::open(name.name(), {.recheck = 10min}));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory, "0", how)));
    std::atomic<int> published = 0;
    auto one = [&published](quoit::publisher<checked>& p, u64 n, int& over) -> quoit::task<> {
      REQUIRE(p.publish(checked::make(0, n)).has_value());
      ++published;
      const auto flushed = co_await p.flush();
      REQUIRE(flushed.has_value());
      REQUIRE(p.durable_sequence() > n);
      ++over;
    };
    auto all = [&one](quoit::publisher<checked>& p, int& over) -> quoit::task<> {
      quoit::scope s;
      for (u64 n = 0; n < 50; ++n) s.spawn(one(p, n, over));
      co_await s.join();
    };
    const u64 before = syncs;
    disk_waits = true;
    std::thread opener([&published] {
      until([&] { return published == 50; });
      std::this_thread::sleep_for(30ms);
      disk_waits = false;
    });
    int over = 0;
    quoit::sync_wait(all(pub, over));
    opener.join();
    CHECK(over == 50);
    CHECK(syncs - before < 10);
    CHECK(count_in(directory) == 50);
  }
}

TEST_CASE("a flush that the disk refuses says so once, and the next one speaks of what came after") {
  for (const bool in_a_loop : {false, true}) {
    const good_disk disk;
    const bus_guard name;
    const scratch_directory directory;
    auto bus = must(quoit::bus::open(name.name()));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory, "0", durability::each)));
    const auto flush = [&]() -> quoit::result<void> {
      if (!in_a_loop) return pub.flush_for(60s);
      auto waits = [](quoit::publisher<checked>& p) -> quoit::task<quoit::result<void>> {
        co_return co_await p.flush();
      };
      return quoit::sync_wait(waits(pub));
    };
    publish_all(pub, 0, 10);
    must(flush());
    publish_all(pub, 10, 20);
    // Segments that are made ahead are written back too: that shall not be what fails.
    until([&] { return std::filesystem::exists(lane_directory(directory.path(), "t", "0") + "/000000000002.seg"); });
    sync_errors = 1;
    const auto failed = flush();
    REQUIRE_FALSE(failed);
    CHECK(failed.error() == errc::system);
    CHECK(failed.error().system_errno() == EIO);
    CHECK(has(message_of(failed.error()), "000000000001.seg"));
    publish_all(pub, 20, 30);
    must(flush());
    CHECK(count_in(directory) == 30);
  }
}

TEST_CASE("a flush that the disk refuses says so to all that had asked for it") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<checked>("t", on_disk(directory, "0", durability::each)));
  publish_all(pub, 0, 10);
  until([&] { return std::filesystem::exists(lane_directory(directory.path(), "t", "0") + "/000000000002.seg"); });
  auto waits = [](quoit::publisher<checked>& p, int& told) -> quoit::task<> {
    const auto flushed = co_await p.flush();
    if (!flushed && flushed.error().system_errno() == EIO) ++told;
  };
  int told = 0;
  auto all = [&]() -> quoit::task<> {
    disk_waits = true;
    sync_errors = 1;
    quoit::scope s;
    for (int i = 0; i < 3; ++i) s.spawn(waits(pub, told));
    static_cast<void>(co_await quoit::sleep_for(2ms));
    disk_waits = false;
    co_await s.join();
  };
  quoit::sync_wait(all());
  CHECK(told == 3);
  publish_all(pub, 10, 20);
  must(pub.flush_for(60s));
}

TEST_CASE("who is told that the disk refused may end the publisher before others go on that are told it too") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  std::optional<quoit::publisher<checked>> pub(
      must(bus.publisher<checked>("t", on_disk(directory, "0", durability::each))));
  publish_all(*pub, 0, 10);
  until([&] { return std::filesystem::exists(lane_directory(directory.path(), "t", "0") + "/000000000002.seg"); });
  int told = 0;
  auto waits = [&]() -> quoit::task<> {
    const auto flushed = co_await pub->flush();
    pub.reset();
    if (!flushed && flushed.error().system_errno() == EIO) ++told;
  };
  auto all = [&]() -> quoit::task<> {
    disk_waits = true;
    sync_errors = 1;
    quoit::scope s;
    for (int i = 0; i < 3; ++i) s.spawn(waits());
    static_cast<void>(co_await quoit::sleep_for(2ms));
    disk_waits = false;
    co_await s.join();
  };
  quoit::sync_wait(all());
  CHECK(told == 3);
}

TEST_CASE("what the disk refused is not said to be on it before a flush has told of it") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<checked>("t", on_disk(directory, "0", durability::each)));
  publish_all(pub, 0, 10);
  must(pub.flush_for(60s));
  publish_all(pub, 10, 20);
  until([&] { return std::filesystem::exists(lane_directory(directory.path(), "t", "0") + "/000000000002.seg"); });
  disk_waits = true;
  sync_errors = 1;
  // Nobody waits for the answer of this one.
  CHECK(pub.flush_for(0ns).error() == errc::timed_out);
  disk_waits = false;
  until([] { return sync_errors == 0; });
  std::this_thread::sleep_for(20ms);
  CHECK(pub.durable_sequence() == 10);
  publish_all(pub, 20, 30);
  CHECK(pub.durable_sequence() == 10);
  CHECK(pub.flush_for(60s).error() == errc::system);
  CHECK(pub.durable_sequence() == 30);
  must(pub.flush_for(60s));
}

TEST_CASE("a stop ends a wait for the disk, and so does the end of the publisher; the loop may go first") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  std::optional<quoit::publisher<checked>> pub(
      must(bus.publisher<checked>("t", on_disk(directory, "0", durability::each))));
  must(pub->publish(checked::make(0, 0)));
  disk_waits = true;
  auto waits = [](quoit::publisher<checked>& p, errc& answer) -> quoit::task<> {
    const auto flushed = co_await p.flush();
    answer = flushed ? errc{} : flushed.error().code();
  };
  {
    auto left = must(quoit::executor::create({}));
    errc never = errc::corrupt;
    left.spawn(waits(*pub, never));
    auto nap = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(2ms)); };
    left.run(nap());
    CHECK(never == errc::corrupt);
  }
  auto ex = must(quoit::executor::create({}));
  errc first = errc::corrupt;
  errc second = errc::corrupt;
  auto all = [&]() -> quoit::task<> {
    auto stopped = co_await quoit::timeout(2ms, waits(*pub, first));
    static_cast<void>(stopped);
    quoit::scope s;
    s.spawn(waits(*pub, second));
    static_cast<void>(co_await quoit::sleep_for(2ms));
    disk_waits = false;
    pub.reset();
    co_await s.join();
  };
  ex.run(all());
  CHECK(first == errc::cancelled);
  CHECK((second == errc::closed || second == errc{}));
  CHECK(count_in(directory) == 1);
}

TEST_CASE("a loop goes on while a lane on disk is opened, and the options may be temporaries") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  auto ticking = [](int& ticks, bool& over) -> quoit::task<> {
    while (!over) {
      static_cast<void>(co_await quoit::sleep_for(100us));
      if (++ticks == 20) disk_waits = false;
    }
  };
  auto all = [&]() -> quoit::task<> {
    auto bus = must(co_await quoit::bus::open_async(name.name()));
    int ticks = 0;
    bool over = false;
    quoit::scope s;
    s.spawn(ticking(ticks, over));
    disk_waits = true;
    std::optional<quoit::task<quoit::result<quoit::publisher<checked>>>> opening;
    {
      const std::string path = directory.path() + "/.";
      const std::string lane = "a name that is too long to be stored in a string itself";
      const std::string allowed = "a-name-that-is-too-long-to-be-stored-in-a-string-itself";
      quoit::publisher_options o;
      o.directory = path;
      o.segment_bytes = small_segment;
      o.publisher_name = lane;
      auto bad = bus.publisher_async<checked>("t", o);
      const auto refused = co_await std::move(bad);
      CHECK(refused.error() == errc::invalid_name);
      o.publisher_name = allowed;
      opening.emplace(bus.publisher_async<checked>(std::string("t"), o));
    }
    auto pub = must(co_await std::move(*opening));
    CHECK(ticks >= 20);
    over = true;
    must(pub.publish(checked::make(0, 0)));
    const auto busy = co_await bus.publisher_async<checked>(
        "t", on_disk(directory, "a-name-that-is-too-long-to-be-stored-in-a-string-itself"));
    CHECK(busy.error() == errc::busy);
    co_await s.join();
  };
  quoit::sync_wait(all());
  CHECK(count_in(directory, "a-name-that-is-too-long-to-be-stored-in-a-string-itself") == 1);
}
