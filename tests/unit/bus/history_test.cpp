// publisher_options history: so many messages stay, wherever in the ring the publisher is.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <quoit.hpp>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using quoit::policy;

namespace {

template <class T>
T must(quoit::result<T> r) {
  if (!r) FAIL(r.error().message());
  return std::move(*r);
}

// How many a subscriber gets that comes now and asks for the last `n`; each must follow the one before.
template <class Subscriber>
std::uint64_t count_from(Subscriber sub, std::uint64_t end) {
  std::uint64_t count = 0;
  std::uint64_t next = 0;
  for (auto s = must(sub.poll()); s; s = must(sub.poll()), ++count) {
    std::uint64_t number = 0;
    std::memcpy(&number, s.data().data(), sizeof number);
    if (count > 0 && number != next) FAIL("a message is missing");
    next = number + 1;
  }
  if (next != end) FAIL("the last message is missing");
  return count;
}

// Publishes many laps, and asks at every point of the last of them, with and without loans open.
template <std::size_t Bytes>
void keeps(quoit::publisher_options options) {
  using message = std::array<std::uint64_t, Bytes / 8>;
  const bus_guard name;
  auto bus = must(quoit::bus::open(name.name()));
  auto pub = must(bus.publisher<message>("t", options));
  const std::uint64_t in_a_lap = pub.capacity_bytes() / Bytes + 1;
  std::uint64_t n = 0;
  const auto publish = [&](quoit::loan<message> loan) {
    (*loan)[0] = n++;
    std::move(loan).publish();
  };
  const std::uint64_t laps = in_a_lap > 100'000 ? 2 : 3;
  while (n < laps * in_a_lap + options.history) publish(must(pub.try_loan()));
  const std::uint64_t every = std::max<std::uint64_t>(1, in_a_lap / (fast() ? 100 : 400));
  const std::uint64_t end = n + in_a_lap;
  while (n < end) {
    for (std::uint64_t i = 0; i < every; ++i) publish(must(pub.try_loan()));
    std::vector<quoit::loan<message>> open;
    if (n % 2 == 0) {
      for (std::uint32_t i = 0; i < options.loans_max; ++i) open.push_back(must(pub.try_loan()));
      CHECK_FALSE(pub.try_loan());
    }
    const auto got = count_from(must(bus.subscriber<message>("t", {.start = quoit::start::last(options.history)})), n);
    if (got < options.history) FAIL("only ", got, " of ", options.history, " messages of ", Bytes, " bytes stay");
    for (auto& loan : open) publish(std::move(loan));
  }
}

}  // namespace

TEST_CASE("a subscriber that comes late gets the history that was promised") {
  for (const policy how : {policy::block, policy::overwrite}) {
    for (const std::uint64_t history : {1u, 10u, 1000u}) {
      for (const std::uint32_t strides : {8u, 16u, 64u}) {
        keeps<8>({.policy = how, .history = history, .strides = strides, .loans_max = 3});
        keeps<64>({.policy = how, .history = history, .strides = strides, .stamped = true});
        keeps<1000>({.policy = how, .history = history, .strides = strides, .loans_max = 1});
      }
    }
    keeps<40'000>({.policy = how, .history = 3, .loans_max = 1});
  }
  keeps<40'000>({.history = 20, .loans_max = 8, .lossy_subscribers = false});
  keeps<40'000>({.history = 7, .strides = 64, .loans_max = 1, .lossy_subscribers = false});
}

TEST_CASE("the longest history that a capacity is accepted with is kept") {
  for (const std::uint64_t capacity : {8192u, 16384u, 65536u}) {
    for (const std::uint32_t strides : {8u, 16u, 32u}) {
      quoit::publisher_options options{.policy = policy::overwrite, .capacity_bytes = capacity, .strides = strides};
      options.loans_max = 4;
      std::uint64_t refused = capacity / 64;
      {
        const bus_guard name;
        auto bus = must(quoit::bus::open(name.name()));
        while (refused - options.history > 1) {
          quoit::publisher_options tried = options;
          tried.history = options.history + (refused - options.history) / 2;
          (bus.publisher<std::array<std::uint64_t, 8>>("t", tried) ? options.history : refused) = tried.history;
        }
      }
      CHECK(options.history > capacity / 100);
      keeps<64>(options);
    }
  }
}

TEST_CASE("a history of messages of variable size is one of the largest") {
  const bus_guard name;
  auto bus = must(quoit::bus::open(name.name()));
  auto pub =
      must(bus.publisher<quoit::bytes>("t", {.policy = policy::overwrite, .message_bytes_max = 5000, .history = 50}));
  std::uint64_t n = 0;
  for (int round = 0; round < 400; ++round) {
    for (int i = 0; i < 7; ++i) {
      const std::size_t size = round % 2 == 0 ? 5000 : 8 + n * 37 % 4990;
      auto loan = must(pub.try_loan_bytes(size));
      std::memcpy(loan.data().data(), &n, sizeof n);
      std::move(loan).publish(size);
      ++n;
    }
    if (n > 50) CHECK(count_from(must(bus.subscriber<quoit::bytes>("t", {.start = quoit::start::last(50)})), n) >= 50);
  }
}
