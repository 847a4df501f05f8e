// Publishers and subscribers that are killed at any moment, and one subscriber that must not notice.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include <sys/mman.h>

#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

namespace quoit::test {

// How long to kill: `most`, or less in a hurry, or what QUOIT_STORM_SECONDS says.
inline int storm_seconds(int most = 8) {
  const char* const wanted = std::getenv("QUOIT_STORM_SECONDS");
  return wanted != nullptr ? std::atoi(wanted) : fast() ? 2 : most;
}

struct storm {
  int seconds_at_most = 8;  // as storm_seconds()
  bool stops_some = true;   // before they are killed
};

// `publish(id)` publishes until it is killed, and `subscribe(over, received)` checks and counts what it receives until
// it is killed or the storm is over; each runs in processes of its own and returns a status, 0 if there is no fault.
template <class Publish, class Subscribe>
void kill_at_any_moment(const storm& how, Publish publish, Subscribe subscribe) {
  struct shared {
    bool over;
    std::uint64_t received_by_survivor;
    std::uint64_t received_by_all;
  };
  auto* const s =
      static_cast<shared*>(::mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  *s = {};
  child survivor([&] { return subscribe(&s->over, &s->received_by_survivor); });
  std::uint64_t ids = 0;
  const auto publisher = [&] {
    const std::uint64_t id = ++ids;
    return std::make_unique<child>([&, id] { return publish(id); });
  };
  const auto subscriber = [&] {
    return std::make_unique<child>([&] { return subscribe(&s->over, &s->received_by_all); });
  };
  std::vector<std::unique_ptr<child>> publishers, subscribers;
  for (int i = 0; i < 2; ++i) publishers.push_back(publisher());
  for (int i = 0; i < 2; ++i) subscribers.push_back(subscriber());
  std::mt19937 random(42);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(storm_seconds(how.seconds_at_most));
  int kills = 0;
  while (std::chrono::steady_clock::now() < end) {
    // From while it opens the bus to well into its work.
    timespec pause{0, static_cast<long>(random() % 15'000'000)};
    ::nanosleep(&pause, nullptr);
    auto& role = random() % 2 == 0 ? publishers : subscribers;
    auto& victim = role[random() % role.size()];
    if (how.stops_some && random() % 5 == 0) {
      // Stopped, not dead: nobody may take it for dead.
      victim->kill(SIGSTOP);
      ::nanosleep(&pause, nullptr);
      victim->kill(SIGCONT);
    }
    victim->kill(SIGKILL);
    const ending ended = victim->wait();
    // It was alive until then: no fault had ended it.
    CHECK_MESSAGE((ended.signal == SIGKILL || ended.status == 0), "status ", ended.status, " signal ", ended.signal);
    ++kills;
    victim = &role == &publishers ? publisher() : subscriber();
  }
  // The survivor goes on to receive from publishers that came after all those deaths.
  const std::uint64_t so_far = __atomic_load_n(&s->received_by_survivor, __ATOMIC_RELAXED);
  bool survived = true;
  until([&] {
    siginfo_t info{};
    survived =
        ::waitid(P_PID, static_cast<id_t>(survivor.pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
    return !survived || __atomic_load_n(&s->received_by_survivor, __ATOMIC_RELAXED) > so_far + 1000;
  });
  __atomic_store_n(&s->over, true, __ATOMIC_RELAXED);
  CHECK(survivor.wait().status == 0);
  MESSAGE(kills << " kills, " << s->received_by_survivor << " messages to the survivor");
  CHECK(kills > 20);
  for (auto& c : subscribers) c->wait();
  publishers.clear();
  subscribers.clear();
  ::munmap(s, sizeof *s);
}

}  // namespace quoit::test
