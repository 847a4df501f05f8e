// A process that is killed at each of its system calls, and at instructions in between, while it opens, uses and closes
// a topic. Nothing that happens at random: what fails here fails again.
#include <doctest/doctest.h>

#include <sys/ptrace.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::policy;

namespace {

enum class ended { killed, over, no_tracing };

// Runs `life` in a child and kills it at its `stop`-th stop, counted from 0: at the entry and at the exit of each
// system call, or after each `instructions` instructions. `over`: it was through before that.
ended run_until(const std::function<int()>& life, int stop, int instructions = 0) {
  child traced([&] {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return 77;
    ::raise(SIGSTOP);
    return life();
  });
  int status = 0;
  if (::waitpid(traced.pid(), &status, 0) != traced.pid() || !WIFSTOPPED(status)) return ended::no_tracing;
  for (int at = 0; at <= stop; ++at) {
    for (int step = 0; step < std::max(instructions, 1); ++step) {
      if (::ptrace(instructions == 0 ? PTRACE_SYSCALL : PTRACE_SINGLESTEP, traced.pid(), nullptr, nullptr) != 0 ||
          ::waitpid(traced.pid(), &status, 0) != traced.pid()) {
        return ended::no_tracing;
      }
      if (WIFEXITED(status)) {
        CHECK(WEXITSTATUS(status) == 0);
        return ended::over;
      }
      REQUIRE(WIFSTOPPED(status));
    }
  }
  traced.kill();
  CHECK(traced.wait().signal == SIGKILL);
  return ended::killed;
}

// What a visitor of the topic does from beginning to end. In a process of its own, where .value() may throw.
struct visit {
  std::string bus;
  bool publishes;
  bool subscribes;
  quoit::policy policy = policy::block;

  int operator()() const {
    auto b = quoit::bus::open(bus).value();
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
void killed_beside_others(bool publishes, bool subscribes, quoit::policy policy, int instructions, int stops_max) {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t", {.policy = policy}).value();
  auto sub = bus.subscriber<checked>("t").value();
  const auto files = [&] {
    auto all = name.files();
    std::sort(all.begin(), all.end());
    return all;
  };
  const auto as_before = files();
  const visit life{name.name(), publishes, subscribes, policy};
  int stop = 0;
  for (; stop < stops_max; ++stop) {
    const ended how = run_until(life, stop, instructions);
    if (how == ended::no_tracing) QUOIT_SKIP("ptrace is not permitted here");
    INFO("stop " << stop);
    // The next process of the bus, and of the topic, cleans up: as a publisher does, and as a subscriber.
    {
      auto next = quoit::bus::open(name.name()).value();
    }
    REQUIRE(pub.publish(checked::make(0, static_cast<std::uint64_t>(stop))));
    REQUIRE(take_all(sub));
    {
      auto next = quoit::bus::open(name.name()).value();
      auto heir = next.publisher<checked>("t", {.policy = policy}).value();
      REQUIRE(heir.publish(checked::make(2, 0)));
    }
    REQUIRE(take_all(sub));
    REQUIRE(take_all(sub));
    const auto info = quoit::inspect(name.name()).value();
    REQUIRE(info.nodes.size() == 1);
    REQUIRE(info.topics.size() == 1);
    REQUIRE(info.topics[0].publishers.size() == 1);
    REQUIRE(info.topics[0].subscriptions.size() == 1);
    REQUIRE(files() == as_before);
    if (how == ended::over) break;
  }
  if (instructions == 0) {
    CHECK(stop > 20);
    CHECK(stop < stops_max);
  }
}

// The same with nobody else there: the next process finds a bus of the dead only.
void killed_alone(bool publishes, bool subscribes) {
  const bus_guard name;
  const visit life{name.name(), publishes, subscribes, policy::block};
  int stop = 0;
  for (;; ++stop) {
    const ended how = run_until(life, stop);
    if (how == ended::no_tracing) QUOIT_SKIP("ptrace is not permitted here");
    INFO("stop " << stop);
    {
      auto next = quoit::bus::open(name.name()).value();
      auto sub = next.subscriber<checked>("t").value();
      auto pub = next.publisher<checked>("t").value();
      REQUIRE(pub.publish(checked::make(0, 0)));
      REQUIRE(sub.wait(60s).value()->intact());
      REQUIRE(pub.subscribers() == 1);
      REQUIRE(sub.publishers() == 1);
    }
    REQUIRE(name.files().empty());
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
