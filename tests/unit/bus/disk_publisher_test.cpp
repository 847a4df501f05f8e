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

#include "storage/log_check.hpp"
#include "support/bus_guard.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"
#include "topic/names.hpp"
#include "topic/topic.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::durability;
using quoit::errc;

namespace {

std::atomic<bool> disk_full = false;
std::atomic<bool> disk_waits = false;  // allocating and writing back take until this is false
std::atomic<int> sync_errors = 0;      // so many of the next ones fail
std::atomic<u64> syncs = 0;

void wait_for_disk() {
  while (disk_waits) std::this_thread::sleep_for(100us);
}

struct good_disk {
  good_disk() { reset(); }
  ~good_disk() { reset(); }
  good_disk(const good_disk&) = delete;
  good_disk& operator=(const good_disk&) = delete;
  static void reset() {
    disk_full = disk_waits = false;
    sync_errors = 0;
    syncs = 0;
  }
};

constexpr std::size_t small_segment = 64 << 10;
constexpr u64 per_segment = 600;  // messages of `checked`: fewer fit

// The directory and the name stay where they are as long as the result is used.
quoit::publisher_options on_disk(const scratch_directory& directory, const char* name = "0",
                                 durability how = durability::os) {
  quoit::publisher_options o;
  o.directory = directory.path();
  o.publisher_name = name;
  o.durability = how;
  o.segment_bytes = small_segment;
  return o;
}

template <class T>
T must(quoit::result<T> r) {
  INFO((r ? std::string() : r.error().message()));
  REQUIRE(r.has_value());
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

std::string message_of(const quoit::error& e) { return e.message(); }
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

void publish_all(quoit::publisher<checked>& pub, u64 begin, u64 end, u64 publisher = 0) {
  for (u64 n = begin; n < end; ++n) must(pub.publish_for(checked::make(publisher, n), 60s));
}

// Reads the lane from its begin: numbers follow each other, and each message is whole. How many there are.
u64 count_in(const scratch_directory& directory, const char* name = "0", u64 publisher = 0) {
  auto reader = must(log_reader::open(directory.path(), "t", name, 4, true));
  must(reader->start_at_earliest());
  u64 n = 0;
  lane_frame frame;
  for (take_status status; (status = reader->take(frame)) != take_status::nothing;) {
    INFO(reader->fault());
    REQUIRE(status == take_status::message);
    REQUIRE(frame.payload_bytes == sizeof(checked));
    checked m;
    std::memcpy(&m, frame.payload, sizeof m);
    reader->release(frame);
    REQUIRE(m.intact());
    REQUIRE(m.publisher == publisher);
    REQUIRE(m.number == n);
    ++n;
  }
  return n;
}

void check_whole(const scratch_directory& directory, const char* name = "0") {
  const auto v = must(verify_lane(lane_directory(directory.path(), "t", name)));
  INFO((v.faults.empty() ? std::string() : v.faults.front()));
  CHECK(v.whole());
}

}  // namespace

// What storage asks of the system goes through here, in this program alone.
extern "C" int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  wait_for_disk();
  if (disk_full) {
    errno = ENOSPC;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes));
}
extern "C" int fallocate64(int fd, int mode, off_t offset, off_t bytes) { return fallocate(fd, mode, offset, bytes); }
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
    CHECK(std::filesystem::is_empty(other.path() + "/t"));  // and nothing was made there
    CHECK(bus.publisher<checked>("t").error() == errc::policy_conflict);
    CHECK(bus.subscriber<checked>("t").error() == errc::policy_conflict);
    CHECK(bus.subscriber<checked>("t", {.mode = quoit::mode::observer}).error() == errc::policy_conflict);
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
  CHECK(pub.publish_for(checked::make(0, n), 2ms).error() == errc::timed_out);
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
  CHECK(quoit::sync_wait(asked(pub)) == errc::would_block);
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
  CHECK(quoit::sync_wait(asked(pub)) == errc::no_space);
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
    auto one = [](quoit::publisher<checked>& p, u64 n, int& over) -> quoit::task<> {
      REQUIRE(p.publish(checked::make(0, n)).has_value());
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
    std::thread opener([] {
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

TEST_CASE("what a power failure tore is cut when the lane is opened again, and said") {
  const good_disk disk;
  const bus_guard name;
  const scratch_directory directory;
  {
    auto bus = must(quoit::bus::open(name.name()));
    auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
    publish_all(pub, 0, 100);
  }
  const std::string segment = lane_directory(directory.path(), "t", "0") + "/000000000001.seg";
  {
    // As a copy of it is: not of this boot. The last message is torn.
    std::filesystem::copy_file(segment, segment + "x");
    std::filesystem::rename(segment + "x", segment);
    auto file = must(open_segment(lane_directory(directory.path(), "t", "0"), 1, access::read_write));
    file->data()[99 * file->geometry.extent(sizeof(checked)) + 40] ^= std::byte{1};
  }
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<checked>("t", on_disk(directory)));
  const quoit::recovery_summary cut = pub.recovery();
  CHECK(has(cut.cut, "000000000001.seg"));
  CHECK(cut.cut_sequence == 99);
  CHECK(cut.bytes_cut > 0);
  CHECK(pub.sequence() == 99);
  publish_all(pub, 99, 150);
  CHECK(count_in(directory) == 150);
}
