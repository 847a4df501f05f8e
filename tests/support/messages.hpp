// What tests publish: a message that can be checked on its own.
#pragma once

#include <cstdint>
#include <quoit.hpp>

namespace quoit::test {

struct checked {
  std::uint64_t publisher;
  std::uint64_t number;
  std::uint64_t filler[5];
  std::uint64_t sum;

  static checked make(std::uint64_t publisher, std::uint64_t number) {
    checked m{publisher, number, {}, 0};
    for (std::uint64_t i = 0; i < 5; ++i) m.filler[i] = number * 0x9e3779b97f4a7c15u + publisher + i;
    m.sum = m.total();
    return m;
  }
  std::uint64_t total() const {
    std::uint64_t t = publisher * 3 + number * 7;
    for (const std::uint64_t f : filler) t = t * 31 + f;
    return t;
  }
  bool intact() const { return sum == total(); }
};
QUOIT_FIELDS(checked, publisher, number, filler, sum)

// Waits, without a limit of its own: the test's watchdog ends what never comes.
template <class Condition>
void until(Condition&& condition) {
  while (!condition()) {
    timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace quoit::test
