// Publishers on disk on a bus: killed at any moment, forked, two that want one name, and what a steady state costs.
#include <doctest/doctest.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <quoit.hpp>
#include <quoit/inspect.hpp>
#include <random>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"
#include "support/refuse.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

// Of this thread: the helper that makes segments ahead has its own.
thread_local unsigned long allocations = 0;

u64 kills() {
  const char* const wanted = std::getenv("QUOIT_KILLS");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : fast() ? 40 : 250;
}

quoit::publisher_options on_disk(const scratch_directory& directory, const char* name, u64 segment_bytes = 64 << 10) {
  quoit::publisher_options o;
  o.directory = directory.path();
  o.publisher_name = name;
  o.segment_bytes = segment_bytes;
  return o;
}

struct shown {
  u64 committed[2];
  u64 running;
};

// Publishes numbers from where its lane ends: a message says its own sequence.
int publish_for_ever(const std::string& bus_name, const quoit::publisher_options& options, u64 which, shown& shared) {
  auto bus = quoit::bus::open(bus_name);
  if (!bus) return 10;
  auto pub = bus->publisher<checked>("t", options);
  if (!pub) {
    std::fprintf(stderr, "publisher: %s\n", pub.error().message().c_str());
    return 11;
  }
  __atomic_store_n(&shared.running, 1, __ATOMIC_RELEASE);
  for (u64 turn = 0;; ++turn) {
    auto first = pub->loan_for(60s);
    if (!first) return 12;
    if (turn % 7 == 1) continue;  // abandoned
    if (turn % 3 == 0) {
      auto second = pub->loan_for(60s);
      if (!second) return 13;
      **second = checked::make(which, second->sequence());
      std::move(*second).publish();
    }
    **first = checked::make(which, first->sequence());
    std::move(*first).publish();
    if (turn % 101 == 0 && !pub->flush_for(9s)) return 14;
    __atomic_store_n(&shared.committed[which], pub->sequence(), __ATOMIC_RELEASE);
  }
}

// Everything in the lane is whole, says its own sequence, and goes as far as its publisher knew.
void check_lane(const scratch_directory& directory, const char* name, u64 which, u64 committed) {
  auto opened = log_reader::open(directory.path(), "t", name, 4, true);
  if (!opened && opened.error() == errc::not_found && committed == 0) return;  // killed before there was a lane
  REQUIRE(opened.has_value());
  log_reader& reader = **opened;
  if (!reader.start_at_earliest()) {
    REQUIRE(committed == 0);
    return;
  }
  reader.look_at_writer();
  u64 end = 0;
  lane_frame frame;
  for (take_status status; (status = reader.take(frame)) != take_status::nothing;) {
    if (status == take_status::drained) break;
    INFO(reader.fault());
    REQUIRE(status == take_status::message);
    REQUIRE(frame.payload_bytes == sizeof(checked));
    checked m;
    std::memcpy(&m, frame.payload, sizeof m);
    REQUIRE(m.intact());
    REQUIRE(m.publisher == which);
    REQUIRE(m.number == frame.sequence);
    REQUIRE(m.number >= end);
    end = m.number + 1;
    reader.release(frame);
  }
  // Sequences at the very end may be void.
  REQUIRE(end + 2 >= committed);
  CHECK(reader.lost_total() == 0);
}

}  // namespace

// ThreadSanitizer has an operator new of its own.
#if !defined(QUOIT_TSAN)
void* operator new(std::size_t bytes) {
  ++allocations;
  void* const p = std::malloc(bytes == 0 ? 1 : bytes);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes == 0 ? 1 : bytes);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
#endif

TEST_CASE("nothing that was published is lost when publishers of a topic on disk are killed at any moment") {
  auto* const shared =
      static_cast<shown*>(::mmap(nullptr, sizeof(shown), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  REQUIRE(shared != MAP_FAILED);
  std::mt19937_64 random(::getpid());
  bus_guard name;
  name.expect_leftovers();
  const char* const names[] = {"a", "b"};
  for (u64 done = 0; done < kills();) {
    const scratch_directory directory;
    *shared = {};
    // The lane is begun anew now and then, or reading all of it would be what takes the time.
    for (int i = 0; i < 20 && done < kills(); ++i) {
      __atomic_store_n(&shared->running, 0, __ATOMIC_RELEASE);
      quoit::test::child first([&] { return publish_for_ever(name.name(), on_disk(directory, names[0]), 0, *shared); });
      quoit::test::child second(
          [&] { return publish_for_ever(name.name(), on_disk(directory, names[1]), 1, *shared); });
      if (random() % 4 != 0) {
        while (__atomic_load_n(&shared->running, __ATOMIC_ACQUIRE) == 0) ::usleep(50);
      }
      ::usleep(static_cast<useconds_t>(random() % 3000));
      first.kill();
      second.kill();
      REQUIRE(first.wait().signal == SIGKILL);
      REQUIRE(second.wait().signal == SIGKILL);
      done += 2;
      for (u64 which = 0; which < 2; ++which) {
        check_lane(directory, names[which], which, __atomic_load_n(&shared->committed[which], __ATOMIC_ACQUIRE));
      }
    }
    // Nobody is left: whoever opens the bus finds an empty table, and the lanes go on.
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t", on_disk(directory, "a"));
    INFO((pub ? std::string() : pub.error().message()));
    REQUIRE(pub.has_value());
    const auto topics = quoit::inspect(name.name()).value().topics;
    REQUIRE(topics.size() == 1);
    CHECK(topics[0].publishers.size() == 1);
    const u64 next = pub->sequence();
    CHECK(next >= shared->committed[0]);
    REQUIRE(pub->publish_for(checked::make(0, next), 60s));
    check_lane(directory, "a", 0, next + 1);
  }
  ::munmap(shared, sizeof(shown));
}

TEST_CASE("a name has one holder among processes, who is named, and can be had when that one is killed") {
  const bus_guard name;
  const scratch_directory directory;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  quoit::test::child holder([&] {
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t", on_disk(directory, "feed")).value();
    if (!pub.publish(checked::make(0, 0)) || ::write(ready[1], "x", 1) != 1) return 1;
    for (;;) ::pause();
    return 0;
  });
  char c;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  auto bus = quoit::bus::open(name.name()).value();
  const auto refused = bus.publisher<checked>("t", on_disk(directory, "feed"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::busy);
  CHECK(refused.error().message().find(std::to_string(holder.pid())) != std::string::npos);
  holder.kill();
  holder.wait();
  auto pub = bus.publisher<checked>("t", on_disk(directory, "feed"));
  REQUIRE(pub.has_value());
  CHECK(pub->sequence() == 1);
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("a forked child's copy of a publisher on disk answers forked, and harms nothing by going") {
  const bus_guard name;
  const scratch_directory directory;
  auto bus = std::make_unique<quoit::bus>(quoit::bus::open(name.name()).value());
  auto pub = std::make_unique<quoit::publisher<checked>>(bus->publisher<checked>("t", on_disk(directory, "0")).value());
  REQUIRE(pub->publish_for(checked::make(0, 0), 60s));
  auto loan = std::make_unique<quoit::loan<checked>>(pub->loan_for(60s).value());
  quoit::test::child copy([&] {
    if (pub->publish(checked::make(0, 99)).error() != errc::forked) return 1;
    if (pub->loan_for(1s).error() != errc::forked) return 2;
    if (pub->flush_for(1s).error() != errc::forked) return 3;
    const checked m = checked::make(0, 99);
    if (pub->publish_batch({&m, 1}).error() != errc::forked) return 4;
    auto flushed = [](quoit::publisher<checked>& p) -> quoit::task<quoit::result<void>> {
      co_return co_await p.flush();
    };
    if (quoit::sync_wait(flushed(*pub)).error() != errc::forked) return 5;
    if (pub->durable_sequence() != 0 || pub->subscribers() != 0) return 6;
    loan.reset();
    pub.reset();
    bus.reset();
    return 0;
  });
  CHECK(copy.wait().status == 0);
  **loan = checked::make(0, 1);
  std::move(*loan).publish();
  loan.reset();
  REQUIRE(pub->publish_for(checked::make(0, 2), 60s));
  CHECK(pub->flush_for(60s).has_value());
  check_lane(directory, "0", 0, 3);
  CHECK(bus->publisher<checked>("t", on_disk(directory, "0")).error() == errc::busy);
}

TEST_CASE("publishing on disk makes no system call and no allocation in the steady state") {
  if (under_tsan) QUOIT_SKIP("the sanitizer makes system calls of its own");
  const bus_guard name;
  const scratch_directory directory;
  for (const bool filtered : {false, true}) {
    quoit::test::child worker([&] {
      auto bus = quoit::bus::open(name.name()).value();
      auto pub = bus.publisher<checked>("t", on_disk(directory, filtered ? "1" : "0", u64{32} << 20)).value();
      // Behind the files of 4 and 16 MiB: in one that does not end meanwhile.
      constexpr u64 small_files_bytes = u64{20} << 20;
      for (u64 n = 0; n <= small_files_bytes / (segment_words_bytes + sizeof(checked)); ++n) {
        if (!pub.publish_for(checked::make(0, n), 60s)) return 5;
      }
      const auto publish = [&](u64 count) {
        for (u64 n = 0; n < count; ++n) {
          auto loan = pub.try_loan();
          if (!loan) return false;
          **loan = checked::make(0, n);
          std::move(*loan).publish();
          if (n % 16 == 0 && !pub.publish(checked::make(0, n))) return false;
        }
        return true;
      };
      if (!publish(1000)) return 1;
      const unsigned long before = allocations;
      if (filtered && !allow_no_system_call()) return 77;
      if (!publish(100'000)) return 2;
      if (allocations != before) return 3;
      ::syscall(SYS_exit_group, 0);
      return 4;
    });
    const ending how = worker.wait();
    if (how.status == 77) QUOIT_SKIP("no seccomp here");
    CHECK(how.signal == 0);
    CHECK(how.status == 0);
  }
  {
    quoit::bus::open(name.name()).value();
  }  // cleans up after them
}

TEST_CASE("a directory that may not be written is refused") {
  if (::geteuid() == 0) QUOIT_SKIP("root may write everywhere");
  const bus_guard name;
  const scratch_directory directory;
  REQUIRE(::chmod(directory.path().c_str(), 0500) == 0);
  auto bus = quoit::bus::open(name.name()).value();
  const auto refused = bus.publisher<checked>("t", on_disk(directory, "0"));
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::no_permission);
  CHECK(refused.error().message().find(directory.path()) != std::string::npos);
  ::chmod(directory.path().c_str(), 0700);
}
