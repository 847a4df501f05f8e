// A process that is killed at each of its system calls, and at instructions in between, while it opens, uses and closes
// a topic. Nothing that happens at random: what fails here fails again.
#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"
#include "support/traced.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::policy;

namespace {

// Where the topic is: in files, or in inherited memory.
enum class kind { files, memory, sealed };

class place {
 public:
  explicit place(kind what) {
    if (what == kind::files) return;
    memory_ = quoit::inherited_memory::create({.bytes = 8 << 20, .sealed = what == kind::sealed}).value();
  }
  quoit::bus open() const {
    return memory_ ? quoit::bus::open(*memory_).value() : quoit::bus::open(name_.name()).value();
  }
  quoit::bus_info inspect() const {
    return memory_ ? quoit::inspect(*memory_).value() : quoit::inspect(name_.name()).value();
  }
  // What is taken: the names of files, or how much of the memory is free.
  std::vector<std::string> taken() const {
    if (memory_) return {std::to_string(memory_->free_bytes())};
    auto all = name_.files();
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  bus_guard name_;
  std::optional<quoit::inherited_memory> memory_;
};

// What a visitor of the topic does from beginning to end. In a process of its own, where .value() may throw.
struct visit {
  const place& where;
  bool publishes;
  bool subscribes;
  quoit::policy policy = policy::block;

  int operator()() const {
    auto b = where.open();
    std::vector<quoit::subscriber<checked>> sub;
    if (subscribes) sub.push_back(b.subscriber<checked>("t").value());
    if (publishes) {
      auto pub = b.publisher<checked>("t", {.policy = policy, .capacity_bytes = 4096, .strides = 8}).value();
      for (std::uint64_t n = 0; n < 3; ++n) {
        if (!pub.publish(checked::make(1, n))) return 1;
      }
      auto loan = pub.try_loan().value();
      const auto abandoned = std::move(loan);
    }
    for (auto& s : sub) {
      const auto got = s.poll();
      if (!got) return 2;
    }
    return 0;
  }
};

// Takes what is there; true if each message was whole and each publisher's in order.
bool take_all(quoit::subscriber<checked>& sub) {
  std::uint64_t last = 0;
  quoit::publisher_id from{};
  for (int looks = 0; looks < 3; ++looks) {
    for (auto s = sub.poll(); s && *s; s = sub.poll()) {
      if (!(*s)->intact()) return false;
      if (s->publisher() == from && s->sequence() <= last) return false;
      from = s->publisher();
      last = s->sequence();
    }
  }
  return true;
}

// Each visit is killed at one stop more than the one before, with others on the topic who go on all the time.
void killed_beside_others(bool publishes, bool subscribes, quoit::policy policy, int instructions, int stops_max,
                          kind what = kind::files) {
  const place name(what);
  auto bus = name.open();
  auto pub = bus.publisher<checked>("t", {.policy = policy}).value();
  auto sub = bus.subscriber<checked>("t").value();
  const auto as_before = name.taken();
  const visit life{name, publishes, subscribes, policy};
  int stop = 0;
  for (; stop < stops_max; ++stop) {
    const ended how = run_until(life, stop, instructions);
    if (how == ended::no_tracing) QUOIT_SKIP("ptrace is not permitted here");
    INFO("stop " << stop);
    // The next process of the bus, and of the topic, cleans up: as a publisher does, and as a subscriber.
    {
      auto next = name.open();
    }
    REQUIRE(pub.publish(checked::make(0, static_cast<std::uint64_t>(stop))));
    REQUIRE(take_all(sub));
    {
      auto next = name.open();
      auto heir = next.publisher<checked>("t", {.policy = policy}).value();
      REQUIRE(heir.publish(checked::make(2, 0)));
    }
    REQUIRE(take_all(sub));
    REQUIRE(take_all(sub));
    const auto info = name.inspect();
    REQUIRE(info.nodes.size() == 1);
    REQUIRE(info.topics.size() == 1);
    REQUIRE(info.topics[0].publishers.size() == 1);
    REQUIRE(info.topics[0].subscriptions.size() == 1);
    REQUIRE(name.taken() == as_before);
    if (how == ended::over) break;
  }
  if (instructions == 0) {
    CHECK(stop > 20);
    CHECK(stop < stops_max);
  }
}

// The same with nobody else there: the next process finds a bus of the dead only.
void killed_alone(bool publishes, bool subscribes, kind what = kind::files) {
  const place name(what);
  const auto nothing = name.taken();
  const visit life{name, publishes, subscribes, policy::block};
  int stop = 0;
  for (;; ++stop) {
    const ended how = run_until(life, stop);
    if (how == ended::no_tracing) QUOIT_SKIP("ptrace is not permitted here");
    INFO("stop " << stop);
    {
      auto next = name.open();
      auto sub = next.subscriber<checked>("t").value();
      auto pub = next.publisher<checked>("t").value();
      REQUIRE(pub.publish(checked::make(0, 0)));
      REQUIRE(sub.wait(60s).value()->intact());
      REQUIRE(pub.subscribers() == 1);
      REQUIRE(sub.publishers() == 1);
    }
    REQUIRE(name.taken() == nothing);
    if (how == ended::over) break;
  }
  CHECK(stop > 20);
}

}  // namespace

TEST_CASE("a publisher is killed at each of its system calls, beside others") {
  for (const auto policy : {policy::block, policy::overwrite}) killed_beside_others(true, false, policy, 0, 1000);
}
TEST_CASE("a subscriber is killed at each of its system calls, beside others") {
  for (const auto policy : {policy::block, policy::overwrite}) killed_beside_others(false, true, policy, 0, 1000);
}
TEST_CASE("a process that does both is killed at each of its system calls, beside others") {
  killed_beside_others(true, true, policy::block, 0, 1000);
}
TEST_CASE("a publisher is killed at each of its system calls, alone") { killed_alone(true, false); }
TEST_CASE("a subscriber is killed at each of its system calls, alone") { killed_alone(false, true); }

TEST_CASE("in inherited memory, a process that does both is killed at each of its system calls, beside others") {
  killed_beside_others(true, true, policy::block, 0, 2000, kind::memory);
}
TEST_CASE("in inherited memory, a process that does both is killed at each of its system calls, alone") {
  killed_alone(true, true, kind::memory);
}
TEST_CASE("in sealed memory, a process that does both is killed at each of its system calls, beside others") {
  killed_beside_others(true, true, policy::block, 0, 2000, kind::sealed);
}
TEST_CASE("in sealed memory, a publisher is killed at each of its system calls, alone") {
  killed_alone(true, false, kind::sealed);
}
