// In the steady state: no system call when nobody sleeps, and no allocation, on error paths too.
#include <doctest/doctest.h>

#include <sys/syscall.h>

#include <cstddef>
#include <cstdlib>
#include <new>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/refuse.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;

namespace {

unsigned long allocations = 0;

// Publishes and receives a hundred thousand times; false if anything was wrong.
bool busy(quoit::publisher<checked>& pub, quoit::subscriber<checked>& sub) {
  for (std::uint64_t n = 0; n < 100'000; ++n) {
    auto loan = pub.try_loan();
    if (!loan) return false;
    **loan = checked::make(0, n);
    std::move(*loan).publish();
    auto s = sub.poll();
    if (!s || !*s || (*s)->number != n) return false;
    auto nothing = sub.poll();
    if (!nothing || *nothing) return false;
  }
  return true;
}

}  // namespace

// ThreadSanitizer has an operator new of its own. Both forms: what one gives, delete takes, whichever it came from.
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

TEST_CASE("publishing and polling make no system call when nobody sleeps") {
  if (under_tsan) QUOIT_SKIP("the sanitizer makes system calls of its own");
  const bus_guard name;
  for (const auto policy : {quoit::policy::block, quoit::policy::overwrite}) {
    child worker([&] {
      auto bus = quoit::bus::open(name.name()).value();
      auto pub = bus.publisher<checked>("t", {.policy = policy}).value();
      auto sub = bus.subscriber<checked>("t").value();
      if (!busy(pub, sub)) return 1;
      if (!allow_no_system_call()) return 77;
      const bool good = busy(pub, sub);
      ::syscall(SYS_exit_group, good ? 0 : 2);
      return 3;
    });
    const ending how = worker.wait();
    if (how.status == 77) QUOIT_SKIP("seccomp filters are not to be had here");
    CHECK_MESSAGE(how.status == 0, "status ", how.status, " signal ", how.signal, " (31: a system call)");
  }
  {
    auto bus = quoit::bus::open(name.name()).value();
  }
}

TEST_CASE("the filter of this test does kill on a system call") {
  child worker([] {
    if (!allow_no_system_call()) return 77;
    ::getppid();
    return 0;
  });
  const ending how = worker.wait();
  if (how.status == 77) QUOIT_SKIP("seccomp filters are not to be had here");
  CHECK(how.signal == SIGSYS);
}

TEST_CASE("publishing, polling, waiting and their errors allocate nothing") {
  if (under_tsan) QUOIT_SKIP("the sanitizer allocates by itself");
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), {.spin_max = 10us}).value();
  auto pub = bus.publisher<checked>("t", {.loans_max = 2}).value();
  auto sub = bus.subscriber<checked>("t", {.samples_max = 2}).value();
  auto over = bus.publisher<checked>("o", {.policy = quoit::policy::overwrite, .capacity_bytes = 4096}).value();
  auto lossy = bus.subscriber<checked>("o").value();
  REQUIRE(busy(pub, sub));
  const unsigned long before = allocations;
  bool good = busy(pub, sub);
  {
    auto a = pub.try_loan();
    auto b = pub.try_loan();
    auto c = pub.try_loan();  // too many
    good = good && a && b && !c;
    if (a) std::move(*a).publish();
  }
  {
    for (int i = 0; i < 4; ++i) good = good && pub.publish(checked::make(0, 0)).has_value();
    auto a = sub.poll();
    auto b = sub.poll();
    auto c = sub.poll();  // too many
    good = good && a && b && !c;
  }
  while (pub.publish(checked::make(0, 0))) {
  }  // would block
  good = good && pub.loan_for(100us).error() == quoit::errc::timed_out;
  for (int i = 0; i < 1000; ++i) good = good && over.publish(checked::make(0, 0)).has_value();
  bool lagged = false;
  for (int i = 0; i < 100; ++i) {
    auto s = lossy.poll();
    lagged = lagged || (!s && s.error() == quoit::errc::lagged);
  }
  good = good && lagged;
  for (;;) {
    auto s = sub.poll();
    if (!s || !*s) break;
  }
  good = good && sub.wait(100us).error() == quoit::errc::timed_out;
  CHECK(good);
  CHECK(allocations == before);
}

namespace {

// Two coroutines of one executor, one that publishes and one that receives: each message is waited for, or found there.
struct conversation {
  quoit::publisher<checked>& pub;
  quoit::subscriber<checked>& sub;
  std::uint64_t received = 0;
  bool good = true;

  static quoit::task<> publishes(conversation& c, std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i) {
      auto loan = co_await c.pub.loan();
      if (!loan) {
        c.good = false;
        co_return;
      }
      **loan = checked::make(0, i);
      std::move(*loan).publish();
      // Now one at a time, now several.
      if (i % 8 < 4) co_await quoit::this_task::yield();
    }
  }
  static quoit::task<> receives(conversation& c, std::uint64_t n) {
    for (std::uint64_t i = 0; i < n && c.good; ++i) {
      const auto s = co_await c.sub.next();
      c.good = s && (*s)->number == i;
      ++c.received;
    }
  }
  // Calls `begin` when everything is warm, and `end` after the steady state.
  template <class Begin, class End>
  static quoit::task<> both(conversation& c, Begin begin, End end) {
    constexpr std::uint64_t n = 50'000;
    for (int round = 0; round < 2; ++round) {
      quoit::scope tasks;
      tasks.spawn(receives(c, n));
      tasks.spawn(publishes(c, n));
      if (round == 1) {
        // Both have begun: from here on they only wait for each other.
        co_await quoit::this_task::yield();
        begin();
      }
      while (c.received < n - 1 && c.good) co_await quoit::this_task::yield();
      if (round == 1) end(c.good);
      co_await tasks.join();
      c.received = 0;
    }
  }
};

// True if the clock is read without a system call here.
bool clock_needs_no_system_call() {
  child reads([] {
    if (!allow_no_system_call()) return 77;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    ::syscall(SYS_exit_group, 0);
    return 0;
  });
  return reads.wait().status == 0;
}

}  // namespace

TEST_CASE("coroutines that publish and receive allocate nothing") {
  if (under_tsan) QUOIT_SKIP("the sanitizer allocates by itself");
  for (const auto how : {quoit::wait::spin, quoit::wait::adaptive, quoit::wait::block}) {
    const bus_guard name;
    auto ex = quoit::executor::create({.wait = how}).value();
    auto bus = quoit::bus::open(ex, name.name()).value();
    auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
    auto sub = bus.subscriber<checked>("t", {.mode = quoit::mode::reliable}).value();
    conversation c{pub, sub};
    unsigned long before = 0, after = 1;
    ex.run(conversation::both(c, [&before] { before = allocations; }, [&after](bool) { after = allocations; }));
    CHECK(c.good);
    CHECK(after == before);
  }
}

TEST_CASE("coroutines that publish and receive make no system call when their loop spins") {
  if (under_tsan) QUOIT_SKIP("the sanitizer makes system calls of its own");
  if (!clock_needs_no_system_call()) QUOIT_SKIP("no seccomp filters, or a clock that is a system call");
  const bus_guard name;
  child worker([&] {
    auto ex = quoit::executor::create({.wait = quoit::wait::spin}).value();
    auto bus = quoit::bus::open(ex, name.name(), {.recheck = 1h}).value();
    auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
    auto sub = bus.subscriber<checked>("t", {.mode = quoit::mode::reliable}).value();
    conversation c{pub, sub};
    bool filtered = false;
    const auto begin = [&filtered] { filtered = allow_no_system_call(); };
    const auto end = [&filtered](bool good) { ::syscall(SYS_exit_group, !filtered ? 77 : good ? 0 : 2); };
    ex.run(conversation::both(c, begin, end));
    return 3;
  });
  const ending how = worker.wait();
  if (how.status == 77) QUOIT_SKIP("seccomp filters are not to be had here");
  CHECK_MESSAGE(how.status == 0, "status ", how.status, " signal ", how.signal, " (31: a system call)");
  {
    auto bus = quoit::bus::open(name.name()).value();
  }
}

TEST_CASE("an executor that sleeps between two messages allocates nothing, on whatever it sleeps") {
  if (under_tsan) QUOIT_SKIP("the sanitizer allocates by itself");
  for (const auto engine : {quoit::io_engine::automatic, quoit::io_engine::epoll}) {
    for (const auto rung : {quoit::rung::automatic, quoit::rung::pipe}) {
      CAPTURE(static_cast<int>(engine));
      CAPTURE(static_cast<int>(rung));
      const bus_guard name;
      auto ex = quoit::executor::create({.wait = quoit::wait::block, .engine = engine, .rung = rung}).value();
      auto bus = quoit::bus::open(ex, name.name()).value();
      auto pub = bus.publisher<checked>("t").value();
      auto sub = bus.subscriber<checked>("t").value();
      auto exchange = [](auto& to, auto& from) -> quoit::task<unsigned long> {
        unsigned long before = 0;
        for (int i = 0; i < 100; ++i) {
          // What the first sleeps make is kept.
          if (i == 10) before = allocations;
          const auto slept = co_await quoit::sleep_for(100us);
          const auto sent = to.publish(checked::make(0, 0));
          const auto got = co_await from.next();
          if (!slept || !sent || !got) co_return ~0ul;
        }
        co_return allocations - before;
      };
      CHECK(ex.run(exchange(pub, sub)) == 0);
      CHECK(ex.sleeps() > 50);
    }
  }
}
