#include "wake/doorbell.hpp"

#include <doctest/doctest.h>

#include <thread>

using namespace quoit::detail;
using namespace std::chrono_literals;

TEST_CASE("whoever is awake is not rung") {
  doorbell bell{};
  CHECK_FALSE(ring(bell));
  CHECK(bell.word == 0);
  {
    const nap over(bell);
  }
  CHECK_FALSE(ring(bell));
}

TEST_CASE("whoever sleeps is rung once, by whoever comes first") {
  doorbell bell{};
  const nap pause(bell);
  CHECK(ring(bell));
  CHECK_FALSE(ring(bell));
  CHECK(bell.word == 1);
}

TEST_CASE("whoever speaks for the dead wakes a node of which somebody took the sleep and did not ring") {
  doorbell bell{};
  nap pause(bell);
  exchange(bell.sleeping, 0);  // and dies
  CHECK_FALSE(ring(bell));
  ring_anyway(bell);
  pause.sleep(-1ns);  // for ever, if that were lost
}

TEST_CASE("a ring between the last look and the sleep ends the sleep") {
  doorbell bell{};
  nap pause(bell);
  REQUIRE(ring(bell));
  pause.sleep(-1ns);  // for ever, if the ring were lost
  CHECK(bell.sleeping == 0);
}

TEST_CASE("an armed bit is taken once, and only that bit") {
  u64 armed = 0b101;
  CHECK(take_armed(armed, 0b100));
  CHECK_FALSE(take_armed(armed, 0b100));
  CHECK_FALSE(take_armed(armed, 0b010));
  CHECK(armed == 0b001);
}

TEST_CASE("each armed bit that belongs to somebody is taken before it is woken, and no other") {
  u64 armed = 0b10110;
  u64 woken = 0;
  CHECK(fire_word(armed, 0b01111, [&](u32 bit) {
          CHECK((armed >> bit & 1) == 0);
          woken |= u64{1} << bit;
          return bit == 1;
        }) == 1);
  CHECK(woken == 0b00110);
  CHECK(armed == 0b10000);
}

TEST_CASE("what was marked is there for whoever wakes") {
  doorbell bell{};
  u64 ready = 0;
  u64 seen = 0;
  std::thread sleeper([&] {
    for (;;) {
      nap pause(bell);
      if (load_relaxed(ready) == 0) pause.sleep(-1ns);
      if ((seen = exchange(ready, 0)) != 0) return;
    }
  });
  std::this_thread::sleep_for(1ms);
  mark_and_ring(ready, 0b10, bell);
  sleeper.join();
  CHECK(seen == 0b10);
}

TEST_CASE("ten thousand messages between two threads lose no wake") {
  doorbell bells[2]{};
  u64 ready[2]{};
  int rounds[2]{};
  const auto play = [&](int self, bool serves) {
    if (serves) mark_and_ring(ready[1 - self], 1, bells[1 - self]);
    for (int i = 0; i < 10'000; ++i) {
      while (exchange(ready[self], 0) == 0) {
        nap pause(bells[self]);
        if (load_relaxed(ready[self]) == 0) pause.sleep(-1ns);
      }
      ++rounds[self];
      mark_and_ring(ready[1 - self], 1, bells[1 - self]);
    }
  };
  std::thread other(play, 1, false);
  play(0, true);
  other.join();
  CHECK(rounds[0] == 10'000);
  CHECK(rounds[1] == 10'000);
}
