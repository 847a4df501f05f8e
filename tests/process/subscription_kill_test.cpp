// Holders of a named subscription that are killed at any moment: each message is received at least once, and what was
// committed does not come again.
#include <array>
#include <random>

#include <sys/mman.h>

#include <quoit.hpp>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

constexpr std::size_t lanes = 2;

// QUOIT_KILLS=5000 for the whole of it.
u64 kills() {
  const char* const wanted = std::getenv("QUOIT_KILLS");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : fast() ? 60 : 300;
}

struct progress {
  std::array<u64, lanes> received;    // the number behind the last one that anybody received
  std::array<u64, lanes> given_back;  // the number of the first one that nobody has given back
  std::array<u64, lanes> committed;   // the number behind the last one of which a holder knows that it is committed
  u64 running;
};

// Receives until it is killed. Its exit status says what went wrong.
int receive_for_ever(const std::string& bus_name, const std::string& directory, progress& shared, u64 seed) {
  std::mt19937_64 random(seed);
  auto bus = quoit::bus::open(bus_name);
  if (!bus) return 10;
  auto sub = bus->subscriber<quoit::bytes>(
      "market/quotes",
      {.start = quoit::start::earliest, .samples_max = 8, .directory = directory, .subscription_name = "audit"});
  if (!sub) {
    std::fprintf(stderr, "subscriber: %s\n", sub.error().message().c_str());
    return 11;
  }
  __atomic_store_n(&shared.running, 1, __ATOMIC_RELEASE);
  constexpr u64 nowhere = ~u64{0};
  std::array<u64, lanes> next{nowhere, nowhere};
  std::vector<quoit::sample<quoit::bytes>> held;
  for (u64 turn = 0;; ++turn) {
    auto sample = sub->poll();
    if (!sample) {
      std::fprintf(stderr, "poll: %s\n", sample.error().message().c_str());
      return 12;
    }
    if (*sample) {
      const std::size_t lane = sample->publisher_name() == "a" ? 0 : 1;
      u64 n = 0;
      std::memcpy(&n, sample->data().data(), 8);
      if (!is_message(sample->data().data(), static_cast<u32>(sample->data().size()), n)) return 13;
      if (next[lane] == nowhere) {
        // Where it goes on: nothing that was committed, and nothing that was not given back is left out.
        if (n < shared.committed[lane]) return 14;
        if (n > shared.given_back[lane]) return 15;
      } else if (n != next[lane]) {
        return 16;
      }
      next[lane] = n + 1;
      __atomic_store_n(&shared.received[lane], std::max(shared.received[lane], n + 1), __ATOMIC_RELEASE);
      held.push_back(std::move(*sample));
      // Given back in any order.
      if (held.size() == 6) {
        std::shuffle(held.begin(), held.end(), random);
        held.resize(random() % 6);
      }
    }
    if (turn % 3 == 0) {
      // What is committed is what lies before the oldest that is held.
      std::array<u64, lanes> done{};
      for (std::size_t lane = 0; lane < lanes; ++lane) done[lane] = next[lane] == nowhere ? 0 : next[lane];
      for (const auto& s : held) {
        u64 n = 0;
        std::memcpy(&n, s.data().data(), 8);
        u64& of_lane = done[s.publisher_name() == "a" ? 0 : 1];
        of_lane = std::min(of_lane, n);
      }
      const auto tell = [&](std::array<u64, lanes>& of) {
        for (std::size_t lane = 0; lane < lanes; ++lane) {
          __atomic_store_n(&of[lane], std::max(of[lane], done[lane]), __ATOMIC_RELEASE);
        }
      };
      tell(shared.given_back);
      if (!sub->commit()) return 17;
      tell(shared.committed);
    }
  }
}

}  // namespace

TEST_CASE(
    "a named subscription whose holders are killed anywhere receives everything, and nothing that was committed") {
  bus_guard guard;
  guard.expect_leftovers();
  auto* const shared = static_cast<progress*>(
      ::mmap(nullptr, sizeof(progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  REQUIRE(shared != MAP_FAILED);
  const scratch_directory directory;
  auto of_a = small_log(directory);
  of_a.name = "a";
  of_a.kind.type_name = "bytes";
  auto of_b = of_a;
  of_b.name = "b";
  const auto a = open_log(of_a);
  const auto b = open_log(of_b);
  std::mt19937_64 random(static_cast<u64>(::getpid()));
  u64 published = 0;
  u64 progressed = 0;
  for (u64 i = 0; i < kills(); ++i) {
    append_all(*a, published, published + 20);
    append_all(*b, published, published + 20);
    published += 20;
    __atomic_store_n(&shared->running, 0, __ATOMIC_RELEASE);
    const u64 before = shared->received[0];
    const u64 seed = random();
    quoit::test::child holder([&] { return receive_for_ever(guard.name(), directory.path(), *shared, seed); });
    // Mostly in the middle of receiving, sometimes while it opens.
    if (random() % 8 != 0) {
      while (__atomic_load_n(&shared->running, __ATOMIC_ACQUIRE) == 0 && ::kill(holder.pid(), 0) == 0) ::usleep(50);
    }
    ::usleep(static_cast<useconds_t>(random() % 300));
    holder.kill();
    const ending how = holder.wait();
    INFO("holder exited with " << how.status);
    REQUIRE(how.signal == SIGKILL);
    progressed += shared->received[0] > before;
    CHECK(shared->committed[0] <= shared->received[0]);
  }
  // It did go on, or nothing was shown.
  CHECK(progressed > kills() / 10);

  // The last one receives the rest.
  auto bus = quoit::bus::open(guard.name()).value();
  auto sub =
      bus.subscriber<quoit::bytes>("market/quotes", {.directory = directory.path(), .subscription_name = "audit"})
          .value();
  std::array<u64, lanes> last{};
  while (const auto sample = sub.poll().value()) {
    u64 n = 0;
    std::memcpy(&n, sample.data().data(), 8);
    last[sample.publisher_name() == "a" ? 0 : 1] = n + 1;
  }
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    CHECK(std::max(last[lane], shared->received[lane]) == published);
  }
  CHECK(sub.lost() == 0);
  ::munmap(shared, sizeof(progress));
}
