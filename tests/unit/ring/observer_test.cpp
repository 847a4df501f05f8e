// An observer copies what nobody keeps for it.
#include <atomic>
#include <thread>

#include "support/lane_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

std::unique_ptr<lane_reader> observer_of(const lane& l, u32 held_max = 2) {
  auto r = l.reader(lane_reader::reading::observing, 0, held_max);
  r->start_at_first();
  return r;
}

}  // namespace

TEST_CASE("an observer takes what is there, in order, and leaves no trace in the slots") {
  const lane l;
  const auto w = l.writer();
  for (u64 n = 0; n < 10; ++n) REQUIRE(publish(*w, n) == claim_status::ok);
  const std::vector<std::byte> before(reinterpret_cast<std::byte*>(&l.slots()),
                                      reinterpret_cast<std::byte*>(&l.slots()) + l.slots_file_bytes());
  const auto r = observer_of(l);
  lane_frame frame;
  for (u64 n = 0; n < 10; ++n) {
    REQUIRE(r->take_copy(frame) == take_status::message);
    CHECK(number_of(frame) == n);
    CHECK(frame.sequence == n);
    r->release(frame);
  }
  CHECK(r->take_copy(frame) == take_status::nothing);
  CHECK(std::memcmp(before.data(), &l.slots(), before.size()) == 0);
}

TEST_CASE("a copy that is held does not change, and a copy too many is refused") {
  const lane l;
  const auto w = l.writer();
  publish(*w, 7);
  publish(*w, 8);
  publish(*w, 9);
  const auto r = observer_of(l, 2);
  lane_frame first, second, third;
  REQUIRE(r->take_copy(first) == take_status::message);
  REQUIRE(r->take_copy(second) == take_status::message);
  CHECK(r->take_copy(third) == take_status::too_many);
  for (u64 n = 0; n < 1000; ++n) REQUIRE(publish(*w, n + 100) == claim_status::ok);
  CHECK(number_of(first) == 7);
  CHECK(number_of(second) == 8);
  r->release(first);
  // The third is long gone: 1,003 published, two taken.
  REQUIRE(r->take_copy(third) == take_status::lagged);
  REQUIRE(r->take_copy(third) == take_status::message);
  CHECK(third.sequence == 2 + r->lost());
  CHECK(number_of(third) == third.sequence - 3 + 100);
  CHECK(number_of(second) == 8);
}

TEST_CASE("an observer that was overtaken counts exactly what it lost") {
  const lane l;
  const auto w = l.writer();
  const auto r = observer_of(l);
  u64 published = 0, taken = 0, lost = 0;
  lane_frame frame;
  for (unsigned round = 0; round < 200; ++round) {
    const unsigned burst = (round * 7919) % 97;
    for (unsigned i = 0; i < burst; ++i) REQUIRE(publish(*w, published++) == claim_status::ok);
    for (unsigned i = 0; i < 5; ++i) {
      const take_status status = r->take_copy(frame);
      if (status == take_status::lagged) lost += r->lost();
      if (status != take_status::message) continue;
      CHECK(number_of(frame) == taken + lost);
      ++taken;
      r->release(frame);
    }
  }
  for (;;) {
    const take_status status = r->take_copy(frame);
    if (status == take_status::nothing) break;
    if (status == take_status::lagged) lost += r->lost();
    if (status == take_status::message) {
      ++taken;
      r->release(frame);
    }
  }
  CHECK(taken + lost == published);
  CHECK(lost > 0);
}

TEST_CASE("an observer may start anywhere") {
  const lane l;
  const auto w = l.writer();
  for (u64 n = 0; n < 100; ++n) publish(*w, n);
  lane_frame frame;
  auto r = l.reader(lane_reader::reading::observing);
  REQUIRE(r->start_at_latest());
  CHECK(r->take_copy(frame) == take_status::nothing);
  publish(*w, 100);
  REQUIRE(r->take_copy(frame) == take_status::message);
  CHECK(number_of(frame) == 100);
  r = l.reader(lane_reader::reading::observing);
  REQUIRE(r->start_with_history(3));
  REQUIRE(r->take_copy(frame) == take_status::message);
  CHECK(number_of(frame) == 98);
}

TEST_CASE("whatever a writer does meanwhile, what an observer takes is whole") {
  if (under_tsan) QUOIT_SKIP("an observer reads what may be written: it is the check afterwards that decides");
  const lane l;
  std::atomic<bool> over = false;
  std::atomic<u64> published = 0;
  const auto w = l.writer();
  std::thread writing([&] {
    u64 n = 0;
    while (!over.load()) {
      publish(*w, n, 8 + static_cast<u32>(n % 7) * 8);
      ++n;
      // Now and then a pause in which the observer catches up: it is to meet the writer, not only to be lapped.
      if (n % 64 == 0) std::this_thread::yield();
    }
    published = n;
  });
  const auto r = observer_of(l);
  u64 next = 0, taken = 0, torn = 0, lapses = 0;
  lane_frame frame;
  const auto look = [&] {
    const take_status status = r->take_copy(frame);
    if (status == take_status::lagged) {
      ++lapses;
      next += r->lost();
    } else if (status == take_status::message) {
      if (number_of(frame) != next || frame.sequence != next) ++torn;
      ++next;
      ++taken;
      r->release(frame);
    } else if (status != take_status::nothing) {
      ++torn;
    }
    return status;
  };
  while (taken < (fast() ? 20'000u : 100'000u) && torn == 0) look();
  over = true;
  writing.join();
  while (look() != take_status::nothing && torn == 0) {
  }
  CHECK(torn == 0);
  CHECK(next == published.load());
  MESSAGE("taken " << taken << ", overtaken " << lapses << " times");
}
