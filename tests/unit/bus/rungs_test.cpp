// Nodes that sleep on different rungs wake each other. No recheck helps: it comes after an hour.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/skip.hpp"
#include "support/sleeper.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::io_engine;
using quoit::rung;

namespace {

constexpr quoit::publisher_options small{.capacity_bytes = 4096, .strides = 8};

struct place {
  const char* name;
  quoit::executor_options options;
};
std::vector<place> places() {
  std::vector<place> found;
  for (const place& p :
       {place{"io_uring, futex", {.wait = quoit::wait::block, .engine = io_engine::io_uring, .rung = rung::futex}},
        place{"io_uring, pipe", {.wait = quoit::wait::block, .engine = io_engine::io_uring, .rung = rung::pipe}},
        place{"epoll, pipe", {.wait = quoit::wait::block, .engine = io_engine::epoll, .rung = rung::pipe}}}) {
    if (quoit::executor::create(p.options)) found.push_back(p);
  }
  return found;
}

std::vector<std::string> bells_of(const bus_guard& bus) {
  std::vector<std::string> bells = bus.files();
  std::erase_if(bells, [](const std::string& file) { return file.find("@bell-") == std::string::npos; });
  return bells;
}

// Threads of the kernel that do for this process what io_uring cannot do without waiting.
int kernel_threads() {
  int count = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream comm(thread.path() / "comm");
    std::string name;
    if (std::getline(comm, name) && name.starts_with("iou-wrk")) ++count;
  }
  return count;
}

rung rung_of(const std::string& bus, const char* node) {
  const auto seen = quoit::inspect(bus).value();
  for (const auto& n : seen.nodes) {
    if (n.name == node) return n.rung;
  }
  return rung::unspecified;
}

// Answers each message of one topic in another, until there are `count`.
void answer(const std::string& bus_name, const quoit::executor_options& options, std::uint64_t count) {
  auto ex = quoit::executor::create(options).value();
  quoit::bus_options asleep = never_rechecks;
  asleep.node_name = "answers";
  auto bus = quoit::bus::open(ex, bus_name, asleep).value();
  auto sub = bus.subscriber<checked>("ask").value();
  auto pub = bus.publisher<checked>("answer", small).value();
  auto all = [](auto& from, auto& to, std::uint64_t n) -> quoit::task<> {
    REQUIRE(co_await to.matched(1));
    for (std::uint64_t i = 0; i < n; ++i) {
      const auto got = co_await from.next();
      REQUIRE((got && (*got)->number == i && (*got)->intact()));
      auto loan = co_await to.loan();
      REQUIRE(loan.has_value());
      **loan = checked::make(2, i);
      std::move(*loan).publish();
    }
  };
  ex.run(all(sub, pub, count));
}

}  // namespace

TEST_CASE("nodes on every pair of rungs wake each other") {
  const std::uint64_t count = std::getenv("QUOIT_TEST_FAST") != nullptr ? 200 : 2000;
  for (const place& here : places()) {
    for (const place& there : places()) {
      CAPTURE(here.name);
      CAPTURE(there.name);
      const bus_guard name;
      auto ex = quoit::executor::create(here.options).value();
      auto bus = quoit::bus::open(ex, name.name(), never_rechecks).value();
      auto pub = bus.publisher<checked>("ask", small).value();
      auto sub = bus.subscriber<checked>("answer").value();
      std::thread other(answer, name.name(), there.options, count);
      auto all = [](auto& to, auto& from, std::uint64_t n) -> quoit::task<> {
        REQUIRE(co_await to.matched(1));
        for (std::uint64_t i = 0; i < n; ++i) {
          auto loan = co_await to.loan();
          REQUIRE(loan.has_value());
          **loan = checked::make(1, i);
          std::move(*loan).publish();
          const auto got = co_await from.next();
          CHECK((got && (*got)->number == i && (*got)->intact()));
        }
      };
      ex.run(all(pub, sub, count));
      CHECK(rung_of(name.name(), never_rechecks.node_name.data()) == here.options.rung);
      other.join();
    }
  }
}

TEST_CASE("a thread that waits by itself and an executor that sleeps on its pipe wake each other") {
  const quoit::executor_options on_pipe{.wait = quoit::wait::block, .rung = rung::pipe};
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), never_rechecks).value();
  auto pub = bus.publisher<checked>("ask", small).value();
  auto sub = bus.subscriber<checked>("answer").value();
  constexpr std::uint64_t count = 500;
  std::thread other(answer, name.name(), on_pipe, count);
  until([&] { return pub.subscribers() == 1; });
  for (std::uint64_t i = 0; i < count; ++i) {
    REQUIRE(pub.publish(checked::make(1, i)));
    const auto got = sub.wait(1h);
    REQUIRE((got && (*got)->number == i));
  }
  other.join();
}

TEST_CASE("a bell is there for as long as its node, and goes with it") {
  const bus_guard name;
  auto keeps = quoit::bus::open(name.name()).value();
  auto pub = keeps.publisher<checked>("t").value();
  ::setenv("QUOIT_RUNG", "pipe", 1);
  {
    const auto reader = takes_one(name.name(), way::coroutine, 7);
    reader->node().until_asleep();
    CHECK(bells_of(name).size() == 1);
    CHECK(rung_of(name.name(), never_rechecks.node_name.data()) == rung::pipe);
    REQUIRE(pub.publish(checked::make(1, 7)));
  }
  ::unsetenv("QUOIT_RUNG");
  CHECK(bells_of(name).empty());
}

TEST_CASE("who sleeps on its pipe is woken by who rings, and by no thread of the kernel that reads it before") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  ::setenv("QUOIT_RUNG", "pipe", 1);
  const int before = kernel_threads();
  sleeper reader(name.name(), way::coroutine,
                 std::function([](quoit::bus& b) { return b.subscriber<checked>("t").value(); }),
                 std::function([](checked_subscriber&) {}), std::function([](checked_subscriber& sub) -> quoit::task<> {
                   for (int i = 0; i < 2; ++i) {
                     const auto got = co_await sub.next();
                     CHECK(got.has_value());
                   }
                 }));
  reader.node().until_asleep();
  const std::uint64_t sleeps = reader.node().sleeps();
  REQUIRE(pub.publish(checked::make(1, 1)));
  reader.node().until_slept_again(sleeps);
  // Linux 6.1 has one for a read of a pipe, and keeps it for seconds.
  CHECK(kernel_threads() <= before);
  REQUIRE(pub.publish(checked::make(1, 2)));
  reader.join();
  ::unsetenv("QUOIT_RUNG");
}

TEST_CASE("a bus in inherited memory leaves no bell behind") {
  const auto bells = [] {
    std::vector<std::string> found;
    for_each_bus_file("inherited", [&](const std::string& file) { found.push_back(file); });
    return found;
  };
  const auto before = bells();
  {
    const auto memory = quoit::inherited_memory::create({.bytes = 16 << 20}).value();
    auto ex = quoit::executor::create({.wait = quoit::wait::block, .rung = rung::pipe}).value();
    auto bus = quoit::bus::open(ex, memory).value();
    auto sub = bus.subscriber<checked>("t").value();
    const auto waits = [](quoit::subscriber<checked>& from) -> quoit::task<bool> {
      const auto got = co_await quoit::timeout(5ms, from.next());
      co_return !got;
    };
    CHECK(ex.run(waits(sub)));
  }
  for (const std::string& file : bells()) CHECK(std::find(before.begin(), before.end(), file) != before.end());
}

TEST_CASE("processes that inherited the memory of their bus wake each other through pipes without names") {
  const auto memory = quoit::inherited_memory::create({.bytes = 16 << 20}).value();
  constexpr std::uint64_t count = 200;
  const auto side = [&](std::uint64_t first, const char* hears, const char* says) {
    auto ex = quoit::executor::create({.wait = quoit::wait::block, .rung = rung::pipe}).value();
    auto bus = quoit::bus::open(ex, memory, never_rechecks).value();
    auto sub = bus.subscriber<checked>(hears).value();
    auto pub = bus.publisher<checked>(says).value();
    const auto talk = [](auto& from, auto& to, std::uint64_t n) -> quoit::task<bool> {
      const auto there = co_await to.matched(1);
      bool right = there.has_value();
      if (n != 0) right = right && to.publish(checked::make(1, 0)).has_value();
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto got = co_await from.next();
        right = right && got && (*got)->number == i;
        if (i + n < count) right = right && to.publish(checked::make(1, i + n)).has_value();
      }
      co_return right;
    };
    return ex.run(talk(sub, pub, first));
  };
  child other([&] { return side(0, "ask", "answer") ? 0 : 1; });
  CHECK(side(1, "answer", "ask"));
  CHECK(other.wait().status == 0);
}

TEST_CASE("a node that rings itself again and again does not fill its bell") {
  for (const place& here : places()) {
    CAPTURE(here.name);
    const bus_guard name;
    auto ex = quoit::executor::create(here.options).value();
    auto bus = quoit::bus::open(ex, name.name(), never_rechecks).value();
    auto a = bus.subscriber<checked>("t").value();
    auto b = bus.subscriber<checked>("t").value();
    auto all = [](auto& on, auto& first, auto& second) -> quoit::task<> {
      // Asleep once, so that there is a bell.
      static_cast<void>(co_await quoit::timeout(1ms, first.next()));
      static_cast<void>(co_await quoit::timeout(1ms, second.next()));
      // A bell holds 64 KiB, and each of these rings it a few times.
      for (int i = 0; i < 5000; ++i) {
        auto pub = on.template publisher<checked>("t", small);
        REQUIRE(pub.has_value());
        if (i % 500 == 0) static_cast<void>(co_await quoit::sleep_for(1ms));
      }
    };
    ex.run(all(bus, a, b));
  }
}

TEST_CASE("a bus that was destroyed on another thread takes no wake from the next one") {
  for (const place& here : places()) {
    CAPTURE(here.name);
    const bus_guard name;
    auto keeps = quoit::bus::open(name.name()).value();
    auto pub = keeps.publisher<checked>("t").value();
    auto ex = quoit::executor::create(here.options).value();
    auto takes = [](auto& from, std::uint64_t n) -> quoit::task<> {
      const auto got = co_await from.next();
      CHECK((got && (*got)->number == n));
    };
    for (std::uint64_t n = 0; n < 3; ++n) {
      auto bus = std::make_optional(quoit::bus::open(ex, name.name(), never_rechecks).value());
      auto sub = std::make_optional(bus->subscriber<checked>("t").value());
      std::thread other([&] {
        node_view(name.name(), never_rechecks.node_name).until_asleep();
        CHECK(pub.publish(checked::make(1, n)));
      });
      ex.run(takes(*sub, n));
      other.join();
      std::thread([&] {
        sub.reset();
        bus.reset();
      }).join();
    }
  }
}

TEST_CASE("the bell of a process that was killed goes when somebody cleans up after it") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  child dies([&] {
    ::setenv("QUOIT_RUNG", "pipe", 1);
    auto reader = takes_one(name.name(), way::coroutine, 7);
    return 1;
  });
  until([&] { return bells_of(name).size() == 1; });
  dies.kill();
  dies.wait();
  // Nobody hears it any more, and that is no fault of whoever rings.
  REQUIRE(pub.publish(checked::make(1, 0)));
  bus.clean_up();
  CHECK(bells_of(name).empty());
}

TEST_CASE("what somebody put in the place of a bell is not written to, and the message comes with the recheck") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  ::setenv("QUOIT_RUNG", "pipe", 1);
  quoit::bus_options rechecks = never_rechecks;
  rechecks.recheck = 20ms;
  sleeper reader(name.name(), way::coroutine,
                 std::function([](quoit::bus& b) { return b.subscriber<checked>("t").value(); }),
                 std::function([](checked_subscriber&) {}), std::function([](checked_subscriber& sub) -> quoit::task<> {
                   const auto got = co_await sub.next();
                   CHECK((got && (*got)->number == 3));
                 }),
                 rechecks);
  reader.node().until_asleep();
  const std::string path = "/dev/shm/" + bells_of(name).at(0);
  REQUIRE(::unlink(path.c_str()) == 0);
  const int fake = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  REQUIRE(fake >= 0);
  REQUIRE(pub.publish(checked::make(1, 3)));
  reader.join();
  struct stat status{};
  REQUIRE(::fstat(fake, &status) == 0);
  CHECK(status.st_size == 0);
  ::close(fake);
  ::unsetenv("QUOIT_RUNG");
}

TEST_CASE("a publisher that has no descriptor left for a bell loses no message") {
  const bus_guard name;
  auto keeps = quoit::bus::open(name.name()).value();
  quoit::bus_options rechecks = never_rechecks;
  rechecks.recheck = 20ms;
  child publishes([&] {
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t").value();
    until([&] { return pub.subscribers() == 1; });
    const node_view node(name.name(), "sleeper");
    node.until_asleep();
    const rlimit none{3, 3};
    ::setrlimit(RLIMIT_NOFILE, &none);
    return pub.publish(checked::make(1, 5)) ? 0 : 1;
  });
  ::setenv("QUOIT_RUNG", "pipe", 1);
  sleeper reader(name.name(), way::coroutine,
                 std::function([](quoit::bus& b) { return b.subscriber<checked>("t").value(); }),
                 std::function([](checked_subscriber&) {}), std::function([](checked_subscriber& sub) -> quoit::task<> {
                   const auto got = co_await sub.next();
                   CHECK((got && (*got)->number == 5));
                 }),
                 rechecks);
  CHECK(publishes.wait().status == 0);
  reader.join();
  ::unsetenv("QUOIT_RUNG");
}

TEST_CASE("a rung that the engine does not have is an error that names one that it has") {
  const auto none = quoit::executor::create({.engine = io_engine::epoll, .rung = rung::futex});
  REQUIRE(!none);
  CHECK(none.error() == errc::system);
  CHECK(none.error().message().find("rung::pipe") != std::string::npos);
  CHECK(quoit::executor::create({.rung = static_cast<rung>(4)}).error() == errc::invalid_argument);
  child asks([] {
    ::setenv("QUOIT_RUNG", "bell", 1);
    const auto made = quoit::executor::create();
    return !made && made.error() == errc::invalid_argument ? 0 : 1;
  });
  CHECK(asks.wait().status == 0);
}
