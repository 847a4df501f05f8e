// A whole executor in a loop that is not quoit's. No recheck helps: it comes after an hour, and whoever is not woken
// hangs.
#include <doctest/doctest.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/foreign.hpp"
#include "support/skip.hpp"
#include "support/sleeper.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::io_engine;

namespace {

// The loop of somebody else, which knows one descriptor.
class foreign_loop {
 public:
  explicit foreign_loop(quoit::executor& inside) : inside_(inside) {
    epoll_event e{};
    e.events = EPOLLIN;
    REQUIRE(::epoll_ctl(set_, EPOLL_CTL_ADD, inside.fd().value(), &e) == 0);
  }
  ~foreign_loop() { ::close(set_); }
  // One turn; waits for ever.
  bool turn() {
    epoll_event e{};
    int n = 0;
    do n = ::epoll_wait(set_, &e, 1, -1);
    while (n < 0 && errno == EINTR);
    REQUIRE(n == 1);
    ++turns;
    return inside_.poll();
  }
  void until_no_task() {
    while (turn()) {
    }
  }
  // Turns until there is nothing to do now.
  void settle() {
    while (readable(inside_.fd().value(), 5)) inside_.poll();
  }
  // True if it leaves this loop alone. An executor that has something in flight looks by itself now and then, and
  // that may fall between two lines.
  bool comes_to_rest() {
    for (int tries = 0; tries < 20; ++tries) {
      settle();
      if (!readable(inside_.fd().value())) return true;
    }
    return false;
  }
  unsigned turns = 0;

 private:
  quoit::executor& inside_;
  int set_ = ::epoll_create1(EPOLL_CLOEXEC);
};

std::vector<io_engine> engines() {
  std::vector<io_engine> found;
  for (const io_engine e : {io_engine::io_uring, io_engine::epoll}) {
    if (quoit::executor::create({.engine = e})) found.push_back(e);
  }
  return found;
}

quoit::task<> takes(quoit::subscriber<checked>& from, std::uint64_t count, std::uint64_t& next) {
  while (next < count) {
    const auto got = co_await from.next();
    REQUIRE((got && (*got)->intact() && (*got)->number == next));
    ++next;
  }
}

}  // namespace

TEST_CASE("an executor in a foreign loop takes messages from another thread, and sleeps in between") {
  const std::uint64_t count = fast() ? 2'000 : 20'000;
  for (const io_engine engine : engines()) {
    CAPTURE(static_cast<int>(engine));
    const bus_guard name;
    auto ex = quoit::executor::create({.engine = engine}).value();
    auto bus = quoit::bus::open(ex, name.name(), never_rechecks).value();
    auto sub = bus.subscriber<checked>("t").value();
    std::thread publishes([&] {
      auto theirs = quoit::bus::open(name.name(), never_rechecks).value();
      auto pub = theirs.publisher<checked>("t").value();
      for (std::uint64_t i = 0; i < count; ++i) {
        if (!pub.publish_for(checked::make(1, i), 1h)) std::abort();
        if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(i % 300));
      }
    });
    std::uint64_t next = 0;
    ex.spawn(takes(sub, count, next));
    foreign_loop outside(ex);
    outside.until_no_task();
    CHECK(next == count);
    publishes.join();
    CHECK(outside.comes_to_rest());
  }
}

TEST_CASE("an executor in a foreign loop is woken for timers, sockets, work of other threads, and stops") {
  for (const io_engine engine : engines()) {
    CAPTURE(static_cast<int>(engine));
    auto ex = quoit::executor::create({.engine = engine}).value();
    foreign_loop outside(ex);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    unsigned slept = 0;
    std::uint64_t read = 0;
    std::atomic<unsigned> posted{0};
    const auto sleeps = [](unsigned& n) -> quoit::task<> {
      for (; n < 20; ++n) {
        const auto ok = co_await quoit::sleep_for(1ms);
        REQUIRE(ok.has_value());
      }
    };
    const auto reads = [](int socket, std::uint64_t& n) -> quoit::task<> {
      std::array<std::byte, 4> some;
      for (;;) {
        const auto got = co_await quoit::recv(socket, some);
        REQUIRE(got.has_value());
        if (*got == 0) break;
        n += *got;
      }
    };
    ex.spawn(sleeps(slept));
    ex.spawn(reads(ends[0], read));
    std::thread other([&] {
      for (int i = 0; i < 200; ++i) {
        if (::write(ends[1], "abcdefgh", 8) != 8) std::abort();
        ex.post([&posted] { ++posted; });
        std::this_thread::sleep_for(50us);
      }
      ::close(ends[1]);
    });
    outside.until_no_task();
    other.join();
    outside.settle();
    CHECK(slept == 20);
    CHECK(read == 1600);
    CHECK(posted == 200);
    ::close(ends[0]);

    const auto waits = [](bool& cancelled) -> quoit::task<> {
      const auto slept_through = co_await quoit::sleep_for(1h);
      cancelled = !slept_through && slept_through.error() == errc::cancelled;
    };
    bool cancelled = false;
    ex.spawn(waits(cancelled));
    CHECK(outside.comes_to_rest());
    ex.request_stop();
    outside.until_no_task();
    CHECK(cancelled);
    // The stop was for the tasks that there were.
    bool again = false;
    const auto is_free = [](bool& ran) -> quoit::task<> {
      const auto ok = co_await quoit::sleep_for(1ms);
      ran = ok.has_value();
    };
    ex.spawn(is_free(again));
    outside.until_no_task();
    CHECK(again);
  }
}

TEST_CASE("a task that reads an eventfd is woken in a foreign loop each time") {
  for (const io_engine engine : engines()) {
    CAPTURE(static_cast<int>(engine));
    auto ex = quoit::executor::create({.engine = engine}).value();
    foreign_loop outside(ex);
    const int counter = ::eventfd(0, EFD_CLOEXEC);
    std::uint64_t taken = 0;
    const auto reads = [](int from, std::uint64_t& n) -> quoit::task<> {
      while (n < 5) {
        std::uint64_t times = 0;
        const auto got = co_await quoit::read(from, std::as_writable_bytes(std::span(&times, 1)));
        REQUIRE(got.has_value());
        n += times;
      }
    };
    ex.spawn(reads(counter, taken));
    for (std::uint64_t i = 0; i < 5; ++i) {
      while (taken < i) outside.turn();
      outside.settle();
      CHECK(taken == i);
      const std::uint64_t one = 1;
      REQUIRE(::write(counter, &one, sizeof one) == sizeof one);
    }
    outside.until_no_task();
    CHECK(taken == 5);
    ::close(counter);
  }
}

TEST_CASE("an executor that has nothing to do leaves the foreign loop alone") {
  for (const io_engine engine : engines()) {
    CAPTURE(static_cast<int>(engine));
    const bus_guard name;
    auto ex = quoit::executor::create({.engine = engine}).value();
    auto bus = quoit::bus::open(ex, name.name(), never_rechecks).value();
    auto sub = bus.subscriber<checked>("t").value();
    auto pub = bus.publisher<checked>("t").value();
    std::uint64_t next = 0;
    ex.spawn(takes(sub, 100, next));
    foreign_loop outside(ex);
    unsigned turns = 0;
    // The timer that makes it so at first may take a moment.
    CHECK(readable(ex.fd().value(), 1000));
    for (std::uint64_t i = 0; i < 100; ++i) {
      CHECK(outside.comes_to_rest());
      CHECK(next == i);
      const unsigned before = outside.turns;
      REQUIRE(pub.publish(checked::make(1, i)));
      while (next == i) outside.turn();
      turns += outside.turns - before;
    }
    // A message, perhaps the end of what woke it, and a look now and then.
    CHECK(turns <= 400);
  }
}

TEST_CASE("what is done to an executor's tasks between two polls makes its descriptor readable") {
  for (const io_engine engine : engines()) {
    CAPTURE(static_cast<int>(engine));
    const bus_guard name;
    auto ex = quoit::executor::create({.engine = engine}).value();
    auto bus = quoit::bus::open(ex, name.name(), never_rechecks).value();
    auto pub = bus.publisher<checked>("t").value();
    std::optional<quoit::subscriber<checked>> sub = bus.subscriber<checked>("t").value();
    auto other = bus.subscriber<checked>("t").value();
    foreign_loop outside(ex);
    // It goes while a task waits for it.
    errc why{};
    const auto waits = [](quoit::subscriber<checked>& from, errc& code) -> quoit::task<> {
      const auto got = co_await from.next();
      code = got ? errc{} : got.error().code();
    };
    ex.spawn(waits(*sub, why));
    CHECK(outside.comes_to_rest());
    sub.reset();
    outside.until_no_task();
    CHECK(why == errc::closed);
    // This thread sleeps by itself in between, on the same doorbell.
    sub = bus.subscriber<checked>("t").value();
    std::uint64_t next = 0;
    ex.spawn(takes(*sub, 2, next));
    outside.settle();
    CHECK(other.wait(20ms).error() == errc::timed_out);
    outside.settle();
    for (std::uint64_t i = 0; i < 2; ++i) REQUIRE(pub.publish(checked::make(1, i)));
    outside.until_no_task();
    CHECK(next == 2);
    // And runs the executor by itself.
    const auto both = [](quoit::subscriber<checked>& from) -> quoit::task<std::uint64_t> {
      std::uint64_t sum = 0;
      for (int i = 0; i < 2; ++i) {
        const auto got = co_await from.next();
        REQUIRE(got.has_value());
        sum += (*got)->number;
      }
      co_return sum;
    };
    CHECK(ex.run(both(other)) == 1);
    std::uint64_t after = 7;
    ex.spawn(takes(*sub, 8, after));
    outside.settle();
    REQUIRE(pub.publish(checked::make(1, 7)));
    outside.until_no_task();
    CHECK(after == 8);
  }
}

TEST_CASE("a task that always has something to do does not keep the foreign loop") {
  for (const io_engine engine : engines()) {
    CAPTURE(static_cast<int>(engine));
    auto ex = quoit::executor::create({.engine = engine}).value();
    bool stop = false;
    const auto turns = [](bool& over) -> quoit::task<> {
      while (!over) co_await quoit::this_task::yield();
    };
    ex.spawn(turns(stop));
    for (int i = 0; i < 100; ++i) {
      REQUIRE(readable(ex.fd().value(), 1000));
      CHECK(ex.poll());
    }
    stop = true;
    REQUIRE(readable(ex.fd().value(), 1000));
    while (ex.poll()) {
    }
  }
}

TEST_CASE("poll() of an executor obeys the rules of run()") {
  for (const io_engine engine : engines()) {
    CAPTURE(static_cast<int>(engine));
    auto ex = quoit::executor::create({.engine = engine}).value();
    const auto polls_inside = [](quoit::executor& where) -> quoit::task<bool> {
      try {
        where.poll();
      } catch (const std::logic_error&) {
        co_return true;
      }
      co_return false;
    };
    CHECK(ex.run(polls_inside(ex)));
    std::thread other([&] {
      CHECK_THROWS_AS(ex.poll(), std::logic_error);
      CHECK(ex.fd().error() == errc::wrong_thread);
    });
    other.join();
    const auto throws = []() -> quoit::task<> {
      co_await quoit::this_task::yield();
      throw std::runtime_error("a task's");
    };
    ex.spawn(throws());
    CHECK_THROWS_WITH_AS(while (ex.poll()){}, "a task's", std::runtime_error);
    CHECK_FALSE(ex.poll());
    child copy([&] { return ex.fd().error() == errc::forked ? 0 : 1; });
    CHECK(copy.wait().status == 0);
    for (int spare = 0; spare < 2; ++spare) {
      child poor([&] {
        auto mine = quoit::executor::create({.engine = engine}).value();
        const int next = ::dup(0);
        ::close(next);
        const rlimit few{static_cast<rlim_t>(next + spare), static_cast<rlim_t>(next + spare)};
        ::setrlimit(RLIMIT_NOFILE, &few);
        const auto none = mine.fd();
        return !none && none.error() == errc::limit_reached ? 0 : 1;
      });
      CHECK(poor.wait().status == 0);
    }
  }
}
