// Executors of one process that talk over a bus: the way of their messages is that between processes.
#include "quoit/executor_group.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

enum class place { shared_memory, kernel, inherited };
constexpr place places[] = {place::shared_memory, place::kernel, place::inherited};

// A bus, wherever it is, as each thread opens it for itself.
class meeting_of_threads {
 public:
  explicit meeting_of_threads(place where) : where_(where) {
    if (where == place::inherited) memory_ = quoit::inherited_memory::create({.bytes = 16 << 20}).value();
  }
  quoit::bus open(quoit::executor& ex) const {
    quoit::bus_options options;
    options.recheck = 1h;
    options.transport = where_ == place::kernel ? quoit::transport::kernel : quoit::transport::shared_memory;
    // A publisher on the kernel path stays as long for what was not taken.
    if (where_ == place::kernel) options.lock_timeout = 100ms;
    return memory_ ? quoit::bus::open(ex, *memory_, options).value()
                   : quoit::bus::open(ex, name_.name(), options).value();
  }
  quoit::bus_info inspect() const {
    return (memory_ ? quoit::inspect(*memory_) : quoit::inspect(name_.name())).value();
  }

 private:
  place where_;
  bus_guard name_;
  std::optional<quoit::inherited_memory> memory_;
};

quoit::executor_group two(quoit::wait how) {
  quoit::executor_group_options options;
  options.count = 2;
  options.executor.wait = how;
  return quoit::executor_group::create(options).value();
}

// Back and forth; each message has a number of its own.
quoit::task<> talk(quoit::executor& ex, const meeting_of_threads& where, bool begins, std::uint64_t rounds,
                   std::atomic<std::uint64_t>& good) {
  auto bus = where.open(ex);
  auto sub = bus.subscriber<checked>(begins ? "back" : "there").value();
  auto pub = bus.publisher<checked>(begins ? "there" : "back").value();
  const auto there = co_await pub.matched(1);
  REQUIRE(there);
  // Until the other one hears us: who begins before that is not heard.
  until([&] { return sub.publishers() == 1; });
  for (std::uint64_t n = 0; n < rounds; ++n) {
    if (begins) REQUIRE(pub.publish(checked::make(1, n)));
    {
      const auto got = co_await sub.next();
      REQUIRE(got);
      if ((*got)->number == n && (*got)->intact()) ++good;
    }
    if (!begins) REQUIRE(pub.publish(checked::make(2, n)));
  }
  const auto sent = co_await pub.flush();
  REQUIRE(sent);
}

}  // namespace

TEST_CASE("two executors of one process send messages back and forth over a bus, wherever that is") {
  const std::uint64_t rounds = fast() ? 500 : 5000;
  for (const place where : places) {
    for (const auto how : {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin}) {
      CAPTURE(static_cast<int>(where));
      const meeting_of_threads here(where);
      std::atomic<std::uint64_t> good{0};
      auto group = two(how);
      for (const std::size_t i : {0u, 1u}) {
        group.spawn(i, [&, i](quoit::executor& ex) { return talk(ex, here, i == 0, rounds, good); });
      }
      group.join();
      CHECK(good == 2 * rounds);
    }
  }
}

TEST_CASE("a message from one executor to another of its process takes the way of those between processes") {
  const meeting_of_threads here(place::shared_memory);
  auto group = two(quoit::wait::block);
  std::atomic<std::uint64_t> good{0};
  const auto before = quoit::process_counters();
  for (const std::size_t i : {0u, 1u}) {
    group.spawn(i, [&, i](quoit::executor& ex) { return talk(ex, here, i == 0, 100, good); });
  }
  group.join();
  const auto spent = quoit::process_counters() - before;
  CHECK(good == 200);
  // Whoever sleeps is woken by the word of its node in shared memory, and nothing is copied by the kernel.
  CHECK(spent.wakes > 0);
  CHECK(spent.copies == 0);
  CHECK(spent.sends == 0);
  CHECK(spent.receives == 0);
}

TEST_CASE("each executor of a process is a node of its own on the bus") {
  const meeting_of_threads here(place::shared_memory);
  auto group = two(quoit::wait::block);
  std::atomic<int> there{0};
  std::atomic<bool> seen{false};
  group.spawn_on_each([&](quoit::executor& ex, std::size_t) {
    return [](quoit::executor& mine, const meeting_of_threads& where, std::atomic<int>& n,
              std::atomic<bool>& s) -> quoit::task<> {
      auto bus = where.open(mine);
      ++n;
      while (!s) static_cast<void>(co_await quoit::sleep_for(1ms));
    }(ex, here, there, seen);
  });
  until([&] { return there == 2; });
  const auto nodes = here.inspect().nodes;
  CHECK(nodes.size() == 2);
  seen = true;
  group.join();
}

// What is received on one executor goes to another as a value, or as a message of its own: a sample stays.
TEST_CASE("a value that was received goes to another executor with a task, while its sample stays where it is") {
  const meeting_of_threads here(place::shared_memory);
  auto group = two(quoit::wait::block);
  std::uint64_t sum = 0;
  auto receive = [](quoit::executor& mine, quoit::executor& other, const meeting_of_threads& where,
                    std::uint64_t& total) -> quoit::task<> {
    auto bus = where.open(mine);
    auto sub = bus.subscriber<checked>("t").value();
    auto pub = bus.publisher<checked>("t").value();
    auto number_of = [](checked value) -> quoit::task<std::uint64_t> { co_return value.intact() ? value.number : 0; };
    for (std::uint64_t n = 1; n <= 100; ++n) {
      REQUIRE(pub.publish(checked::make(1, n)));
      const auto sample = co_await sub.next();
      REQUIRE(sample);
      total += co_await quoit::run_on(other, number_of(**sample));
    }
  };
  group.spawn(0, [&](quoit::executor& mine) { return receive(mine, group[1], here, sum); });
  group.join();
  CHECK(sum == 5050);
}
