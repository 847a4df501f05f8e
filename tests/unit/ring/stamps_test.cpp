// The times of messages in memory.
#include <doctest/doctest.h>

#include "support/lane_fixture.hpp"

using namespace quoit::test;

namespace {
constexpr auto message = take_status::message;
}

TEST_CASE("stamps never go back, in whichever order loans are published") {
  lane_request request = small_lane();
  request.stamped = true;
  const lane l(request);
  auto w = l.writer();
  auto r = l.lossy();
  lane_claim claims[4];
  for (auto& claim : claims) REQUIRE(w->claim(8, claim) == claim_status::ok);
  w->commit(claims[2], 8, 300);
  w->commit(claims[0], 8, 900);  // its successor's stamp is on it: never above
  w->commit(claims[3], 8, 100);  // the clock went back
  w->commit(claims[1], 8, 1000);
  u64 last = 0;
  for (int i = 0; i < 4; ++i) {
    lane_frame frame;
    REQUIRE(r->take(frame) == message);
    CHECK(frame.stamp >= last);
    CHECK(frame.stamp > 0);
    last = frame.stamp;
    r->release(frame);
  }
}

TEST_CASE("stamps of a lane in memory follow a clock that is set back, and not one that is slewed") {
  lane_request request = small_lane();
  request.stamped = true;
  const lane l(request);
  auto w = l.writer();
  auto r = l.lossy();
  constexpr u64 second = 1'000'000'000;
  const auto publish = [&](u64 stamp) {
    lane_claim claim;
    REQUIRE(w->claim(8, claim) == claim_status::ok);
    w->commit(claim, 8, stamp);
    lane_frame frame;
    REQUIRE(r->take(frame) == message);
    r->release(frame);
    return frame.stamp;
  };
  CHECK(publish(100 * second) == 100 * second);
  CHECK(publish(100 * second - 50) == 100 * second);
  CHECK(publish(90 * second) == 90 * second);
  lane_claim claim;
  REQUIRE(w->claim(8, claim) == claim_status::ok);
  w->abandon(claim);
  CHECK(publish(90 * second - 1) == 90 * second);
  CHECK(publish(91 * second) == 91 * second);
  // Two loans on each side of the step, published in the other order.
  lane_claim first, other;
  REQUIRE(w->claim(8, first) == claim_status::ok);
  REQUIRE(w->claim(8, other) == claim_status::ok);
  w->commit(first, 8, 92 * second);
  w->commit(other, 8, 50 * second);
  lane_frame frame;
  REQUIRE(r->take(frame) == message);
  CHECK(frame.stamp == 92 * second);
  r->release(frame);
  REQUIRE(r->take(frame) == message);
  CHECK(frame.stamp == 50 * second);
  r->release(frame);
}
