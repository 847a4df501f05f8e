#include "base/futex.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <thread>

using namespace quoit::detail;
using namespace std::chrono_literals;

TEST_CASE("nobody sleeps on a word that has another value") {
  const std::uint32_t word = 1;
  futex_wait(word, 0, -1ns);  // for ever, if it slept
  CHECK(word == 1);
}

TEST_CASE("a sleep ends with its time") {
  const std::uint32_t word = 0;
  const auto begin = std::chrono::steady_clock::now();
  futex_wait(word, 0, 3ms);
  // It may end earlier for no reason; here nothing gives one.
  CHECK(std::chrono::steady_clock::now() - begin >= 3ms);
}

TEST_CASE("whoever sleeps is woken, and errno stays as it was") {
  std::uint32_t word = 0;
  std::atomic_ref<std::uint32_t> shared(word);
  std::thread sleeper([&] {
    while (shared.load() == 0) futex_wait(word, 0, -1ns);
  });
  std::this_thread::sleep_for(2ms);
  errno = 42;
  shared.store(1);
  futex_wake(word);
  CHECK(errno == 42);
  sleeper.join();
}
