// Appending to a lane on disk and reading it, live and from any place.
#include <thread>

#include "base/clock.hpp"

#include "support/log_fixture.hpp"

using namespace quoit::test;

TEST_CASE("what is published on disk is read in order, across segments") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  append_all(*w, 0, 2000);
  CHECK(begun_segments(w->directory()).size() > 5);
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == 2000);
  CHECK(r->lost_total() == 0);
  append_all(*w, 2000, 3000);
  CHECK(read_on(*r, 2000) == 3000);
}

TEST_CASE("a reader that was there before the first message misses none") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  auto r = open_reader(options);
  REQUIRE(r->start_at_latest().has_value());
  lane_frame frame;
  CHECK(r->take(frame) == take_status::nothing);
  CHECK(!r->ready());
  append_all(*w, 0, 500);
  CHECK(r->ready());
  CHECK(read_on(*r, 0) == 500);
}

TEST_CASE("a reader follows a publisher on another thread, with no gap and no duplicate") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  constexpr u64 count = 60'000;
  std::thread publisher([&] {
    for (u64 n = 0; n < count; ++n) {
      if (append(*w, n) != append_status::ok) std::abort();
    }
  });
  auto r = read_from_begin(options);
  u64 n = 0;
  while (n < count) n = read_on(*r, n);
  publisher.join();
  CHECK(n == count);
  CHECK(r->lost_total() == 0);
}

TEST_CASE("messages carry the time of publishing, which never goes back") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  const u64 before = realtime_ns();
  append_all(*w, 0, 1000);
  const u64 after = realtime_ns();
  auto r = read_from_begin(options);
  u64 last = 0;
  lane_frame frame;
  while (r->take(frame) == take_status::message) {
    CHECK(frame.stamp >= last);
    last = frame.stamp;
    r->release(frame);
  }
  // A microsecond is what the clock promises.
  CHECK(last + 1000 >= before);
  CHECK(last <= after + 1000);
}

TEST_CASE("loans become visible in the order in which they were taken, and abandoned ones are skipped") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  auto r = read_from_begin(options);
  segment_appender& a = w->appender();
  lane_claim claims[4];
  for (auto& claim : claims) REQUIRE(a.claim(100, claim) == append_status::ok);
  const auto commit = [&](u32 i) {
    write_message(claims[i].payload, 100, i);
    return a.commit(claims[i], 100);
  };
  CHECK(!commit(2));
  CHECK(!next_number(*r));
  CHECK(!a.abandon(claims[1]));
  CHECK(!next_number(*r));
  CHECK(commit(0));
  CHECK(next_number(*r) == 0);
  CHECK(next_number(*r) == 2);
  CHECK(!next_number(*r));
  CHECK(commit(3));
  CHECK(next_number(*r) == 3);
  CHECK(r->sequence() == 4);
  CHECK(a.voids() == 1);
  CHECK(a.unresolved() == 0);
}

TEST_CASE("a message may be shorter than its loan, the newest and an older one") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  segment_appender& a = w->appender();
  lane_claim first;
  lane_claim second;
  REQUIRE(a.claim(1000, first) == append_status::ok);
  REQUIRE(a.claim(1000, second) == append_status::ok);
  std::memset(first.payload, 0xff, 1000);
  std::memset(second.payload, 0xff, 1000);
  write_message(first.payload, 100, 0);
  write_message(second.payload, 13, 1);
  a.commit(first, 100);
  a.commit(second, 13);
  lane_claim third;
  REQUIRE(a.claim(64, third) == append_status::ok);
  CHECK(third.position == second.position + a.geometry().extent(13));
  a.abandon(third);
  append_all(*w, 2, 10);
  auto r = read_from_begin(options, true);
  CHECK(read_on(*r, 0) == 10);
}

TEST_CASE("an open loan hides what comes after it through several segments, and then some claim is refused") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  lane_claim old;
  REQUIRE(w->appender().claim(size_of(0), old) == append_status::ok);
  u64 n = 1;
  append_status status = append_status::ok;
  while ((status = append(*w, n)) == append_status::ok) ++n;
  CHECK(status == append_status::too_many);  // resolved claims behind an open one keep their place in the table
  auto r = read_from_begin(options);
  CHECK(!next_number(*r));
  write_message(old.payload, size_of(0), 0);
  CHECK(w->appender().commit(old, size_of(0)));
  CHECK(read_on(*r, 0) == n);
  append_all(*w, n, n + 100);
  CHECK(read_on(*r, n) == n + 100);
}

TEST_CASE("a sample is whole for as long as it is held, also when its segment was read to the end") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  append_all(*w, 0, 2000);
  auto r = read_from_begin(options);
  lane_frame held;
  REQUIRE(r->take(held) == take_status::message);
  CHECK(read_on(*r, 1) == 2000);
  CHECK(is_message(held.payload, held.payload_bytes, 0));
  r->release(held);
  CHECK(r->held() == 0);
}

TEST_CASE("as many samples are held as were asked for") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  append_all(*w, 0, 10);
  auto r = open_reader(options, 2);
  REQUIRE(r->start_at_earliest().has_value());
  lane_frame a;
  lane_frame b;
  lane_frame c;
  CHECK(r->take(a) == take_status::message);
  CHECK(r->take(b) == take_status::message);
  CHECK(r->take(c) == take_status::too_many);
  r->release(a);
  CHECK(r->take(c) == take_status::message);
  CHECK(c.sequence == 2);
}

TEST_CASE("payloads are aligned as asked for") {
  const scratch_directory directory;
  for (const u32 alignment : {8u, 64u, 4096u}) {
    auto options = small_log(directory);
    options.name = "a" + std::to_string(alignment);
    options.kind.payload_alignment = alignment;
    auto w = open_log(options);
    append_all(*w, 0, 100);
    auto r = read_from_begin(options, true);
    for (u64 n = 0; n < 100; ++n) {
      lane_frame frame;
      REQUIRE(r->take(frame) == take_status::message);
      CHECK(reinterpret_cast<std::uintptr_t>(frame.payload) % alignment == 0);
      r->release(frame);
    }
  }
}

TEST_CASE("a message that no segment takes is refused, and one that fills it is not") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.kind.payload_bytes_max = 0;
  auto w = open_log(options);
  const u32 most = w->appender().geometry().payload_bytes_max;
  CHECK(append(*w, 0, most + 1) == append_status::too_large);
  for (u64 n = 0; n < 5; ++n) CHECK(append(*w, n, most) == append_status::ok);
  auto r = read_from_begin(options, true);
  CHECK(read_on(*r, 0) == 5);
  options.name = "b";
  options.kind.payload_bytes_max = most + 1;
  const auto refused = log_writer::open(options);
  REQUIRE(!refused);
  CHECK(refused.error() == quoit::errc::invalid_argument);
  options.kind.segment_bytes = refused.error().value();
  CHECK(log_writer::open(options).has_value());
}
