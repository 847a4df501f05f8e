// Beginning at a sequence, at a time, n messages back, and what the index is for.
#include <sys/resource.h>

#include <filesystem>

#include "storage/frame_walk.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;

namespace {

// 3,000 messages in many segments, each tenth loan abandoned: message n has sequence n + n / 9.
struct log_with_voids {
  log_with_voids() : options(small_log(directory)), w(open_log(options)) {
    for (u64 n = 0; n < 3000; ++n) {
      REQUIRE(append(*w, n) == append_status::ok);
      if (n % 9 != 8) continue;
      lane_claim claim;
      REQUIRE(claim_waiting(*w, 50, claim) == append_status::ok);
      w->appender().abandon(claim);
    }
  }
  static u64 sequence_of(u64 n) { return n + n / 9; }

  scratch_directory directory;
  log_writer_options options;
  std::unique_ptr<log_writer> w;
};

}  // namespace

TEST_CASE("a reader begins at any sequence") {
  const log_with_voids log;
  auto r = open_reader(log.options);
  for (u64 n = 0; n < 3000; n += 17) {
    REQUIRE(r->start_at_sequence(log.sequence_of(n)).has_value());
    CHECK(next_number(*r) == n);
  }
  REQUIRE(r->start_at_sequence(9).has_value());  // void
  CHECK(next_number(*r) == 9);
  REQUIRE(r->start_at_sequence(1'000'000).has_value());
  CHECK(!next_number(*r));
  CHECK(r->sequence() == log.w->appender().next_sequence());
}

TEST_CASE("a reader begins n messages back, whatever was abandoned between") {
  const log_with_voids log;
  auto r = open_reader(log.options);
  for (u64 back = 1; back < 3000; back += 13) {
    REQUIRE(r->start_with_last(back).has_value());
    CHECK(next_number(*r) == 3000 - back);
  }
  REQUIRE(r->start_with_last(0).has_value());
  CHECK(!next_number(*r));
  REQUIRE(r->start_with_last(1'000'000).has_value());
  CHECK(read_on(*r, 0) == 3000);
}

TEST_CASE("a reader begins at a time") {
  const log_with_voids log;
  std::vector<u64> stamps;
  auto r = read_from_begin(log.options);
  lane_frame frame;
  while (r->take(frame) == take_status::message) {
    stamps.push_back(frame.stamp);
    r->release(frame);
  }
  REQUIRE(stamps.size() == 3000);
  for (u64 n = 0; n < 3000; n += 11) {
    REQUIRE(r->start_at_time(stamps[n]).has_value());
    // Several may have the same time: the first of them.
    const auto first = std::lower_bound(stamps.begin(), stamps.end(), stamps[n]) - stamps.begin();
    CHECK(next_number(*r) == static_cast<u64>(first));
  }
  REQUIRE(r->start_at_time(0).has_value());
  CHECK(next_number(*r) == 0);
  REQUIRE(r->start_at_time(stamps.back() + 1).has_value());
  CHECK(!next_number(*r));
}

TEST_CASE("the index spares a reader everything but one part of a segment") {
  const log_with_voids log;
  for (const u64 number : list_segments(log.w->directory())) {
    const auto segment = open_segment(log.w->directory(), number, access::read).value();
    segment_start start{};
    if (!segment->read_start(start)) continue;
    // Every part that has a frame place has its entry, and the frame there is the one it says.
    log_place place{start.position, start.sequence, start.voids, start.stamp};
    u64 part = ~u64{0};
    for (;;) {
      const u64 offset = place.position - start.position;
      const frame_step step = look_at_frame(*segment, start.position, place, true);
      if (step.kind != step_kind::message && step.kind != step_kind::voided) break;
      if (offset >> segment->geometry.index_shift != part) {
        part = offset >> segment->geometry.index_shift;
        segment_index_entry entry{};
        REQUIRE(read_entry(*segment, static_cast<u32>(part), entry));
        CHECK(entry.offset() == offset);
        CHECK(entry.sequence == place.sequence);
        CHECK(entry.voids == place.voids);
        CHECK(entry.stamp == place.stamp);
      }
      place = behind(place, step);
    }
  }
}

TEST_CASE("an index that is missing or wrong costs time, and no message") {
  const log_with_voids log;
  for (const bool wrong : {false, true}) {
    for (const u64 number : list_segments(log.w->directory())) {
      const auto segment = open_segment(log.w->directory(), number, access::read_write).value();
      for (u32 part = 0; part < segment->geometry.index_entries; ++part) {
        segment->entry(part) =
            wrong ? segment_index_entry{7, 7, 7, 0x1234567800000040u + u64{part} * 4096} : segment_index_entry{};
      }
    }
    auto r = open_reader(log.options);
    for (u64 n = 0; n < 3000; n += 101) {
      REQUIRE(r->start_at_sequence(log.sequence_of(n)).has_value());
      CHECK(next_number(*r) == n);
      REQUIRE(r->start_with_last(3000 - n).has_value());
      CHECK(next_number(*r) == n);
    }
  }
}

TEST_CASE("a lane whose directory cannot be read, or whose segments go, is not taken for an empty one") {
  log_with_voids log;
  const std::string directory = log.w->directory();
  log.w.reset();
  const auto r = open_reader(log.options);
  REQUIRE(r->start_at_latest().has_value());
  const u64 end = r->sequence();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  const auto there = r->start_at_latest();
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(!there.has_value());
  CHECK(there.error() == quoit::errc::limit_reached);

  // A name behind which there is nothing, as one that is removed between the list and the opening.
  const std::string gone = directory + "/" + segment_name(900);
  std::filesystem::create_symlink("nowhere", gone);
  const auto removed = r->start_at_latest();
  REQUIRE(!removed.has_value());
  CHECK(removed.error() == quoit::errc::not_found);
  std::filesystem::remove(gone);
  REQUIRE(r->start_at_latest().has_value());
  CHECK(r->sequence() == end);
}
