// CLOCK_REALTIME is set under publishers and subscribers on a bus, and a publisher lives in a time namespace of its
// own. The clock of this program is the kernel's, moved by what a test says.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <quoit.hpp>
#include <string>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::start;
using stamp = std::chrono::sys_time<std::chrono::nanoseconds>;

namespace {
std::atomic<long> moved_seconds = 0;
}

extern "C" int clock_gettime(clockid_t clock, timespec* out) noexcept {
  const int status = static_cast<int>(::syscall(SYS_clock_gettime, clock, out));
  if (status == 0 && clock == CLOCK_REALTIME) out->tv_sec += moved_seconds;
  return status;
}

namespace {

stamp now() { return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now()); }

// A stamp is believed for a millisecond after the kernel was asked.
void set_clock(long seconds) {
  moved_seconds += seconds;
  ::usleep(5000);
}

struct moved_clock {
  moved_clock() = default;
  ~moved_clock() { moved_seconds = 0; }
  moved_clock(const moved_clock&) = delete;
  moved_clock& operator=(const moved_clock&) = delete;
};

template <class T>
T must(quoit::result<T> r) {
  INFO((r ? std::string() : r.error().message()));
  REQUIRE(r.has_value());
  return std::move(*r);
}

// A microsecond is what a stamp may be off.
void check_between(stamp time, stamp before, stamp after) {
  CHECK(time >= before - 1us);
  CHECK(time <= after + 1us);
}

quoit::publisher_options on_disk(const scratch_directory& directory, const char* name) {
  quoit::publisher_options o;
  o.directory = directory.path();
  o.publisher_name = name;
  o.segment_bytes = 64 << 10;
  return o;
}

}  // namespace

TEST_CASE("time() is when a message was published, on disk and in memory, from the first message behind a step on") {
  const moved_clock clock;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto kept = must(bus.publisher<checked>("kept", on_disk(directory, "0")));
  auto in_memory = must(bus.publisher<checked>("memory", {.stamped = true}));
  auto kept_reader = must(bus.subscriber<checked>("kept"));
  auto memory_reader = must(bus.subscriber<checked>("memory"));
  u64 n = 0;
  for (const long step : {0L, -3600L, 7200L, 2'000'000'000L, -2'000'003'600L}) {
    set_clock(step);
    for (int i = 0; i < 3; ++i, ++n) {
      const stamp before = now();
      REQUIRE(kept.publish_for(checked::make(0, n), 60s));
      REQUIRE(in_memory.publish(checked::make(0, n)));
      const stamp after = now();
      const auto on_disk_sample = must(kept_reader.wait(60s));
      REQUIRE(on_disk_sample);
      CHECK(on_disk_sample->number == n);
      check_between(on_disk_sample.time(), before, after);
      const auto sample = must(memory_reader.wait(60s));
      REQUIRE(sample);
      check_between(sample.time(), before, after);
    }
  }
}

TEST_CASE("a start by time has what was published since, and a replay of two publishers is in their order") {
  const moved_clock clock;
  const bus_guard name;
  const scratch_directory directory;
  auto bus = must(quoit::bus::open(name.name()));
  auto a = must(bus.publisher<checked>("t", on_disk(directory, "a")));
  auto b = must(bus.publisher<checked>("t", on_disk(directory, "b")));
  u64 n = 0;
  // Both stamps have another microsecond, so that the order is known.
  const auto publish = [&](u64 count) {
    for (const u64 end = n + count; n < end; ++n) {
      REQUIRE((n % 3 == 0 ? a : b).publish_for(checked::make(0, n), 60s));
      ::usleep(5);
    }
  };
  publish(3000);
  set_clock(-20);
  publish(900);
  const stamp then = now();
  ::usleep(5);
  const u64 since = n;
  publish(600);
  const auto read = [&](const start& from, u64 begin) {
    auto replay = must(quoit::replay<checked>::open(directory.path(), "t", {.start = from}));
    for (u64 expected = begin;; ++expected) {
      const auto sample = must(replay.poll());
      if (!sample) {
        CHECK(expected == n);
        return;
      }
      REQUIRE(sample->number == expected);
    }
  };
  read(start::earliest, 0);
  read(start::time(then), since);
  // Before 1970 nothing was published.
  read(start::time(stamp(-1ns)), 0);
  read(start::time(stamp::min()), 0);
  set_clock(3600);
  publish(100);
  read(start::earliest, 0);
  read(start::time(now() - 1h), n - 100);
}

namespace {

bool write_text(const char* path, const std::string& text) {
  const fd file(::open(path, O_WRONLY));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

constexpr int not_permitted = 77;

}  // namespace

TEST_CASE("a publisher in a time namespace of its own is merged with the others by CLOCK_REALTIME") {
  const bus_guard name;
  const scratch_directory directory;
  constexpr u64 count = 200;
  int turns[2][2];
  REQUIRE(::pipe(turns[0]) == 0);
  REQUIRE(::pipe(turns[1]) == 0);
  // Each publishes when it is told to, and tells the other.
  const auto take_turns = [&](int self, u64 first) {
    auto bus = quoit::bus::open(name.name());
    if (!bus) return 1;
    auto pub = bus->publisher<checked>("t", on_disk(directory, self == 0 ? "a" : "b"));
    if (!pub) return 2;
    char turn = 0;
    for (u64 n = first; n < count; n += 2) {
      if (::read(turns[self][0], &turn, 1) != 1) return 3;
      if (!pub->publish_for(checked::make(0, n), 60s)) return 4;
      ::usleep(5);
      if (::write(turns[1 - self][1], &turn, 1) != 1) return 5;
    }
    return 0;
  };
  quoit::test::child elsewhere([&] {
    if (::unshare(CLONE_NEWTIME) != 0) return not_permitted;
    if (!write_text("/proc/self/timens_offsets", "boottime 86400 0\nmonotonic 86400 0\n")) return not_permitted;
    quoit::test::child inside([&] { return take_turns(1, 1); });
    return inside.wait().status;
  });
  quoit::test::child here([&] { return take_turns(0, 0); });
  const char turn = 0;
  REQUIRE(::write(turns[0][1], &turn, 1) == 1);
  const ending other = elsewhere.wait();
  if (other.status == not_permitted) QUOIT_SKIP("a time namespace is not permitted here");
  CHECK(other.status == 0);
  CHECK(here.wait().status == 0);
  for (const auto& pair : turns) {
    ::close(pair[0]);
    ::close(pair[1]);
  }
  auto replay = must(quoit::replay<checked>::open(directory.path(), "t"));
  for (u64 n = 0; n < count; ++n) {
    const auto sample = must(replay.poll());
    REQUIRE(sample);
    REQUIRE(sample->number == n);
  }
}
