// Sizes of the segments of a lane: small ones first.
#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "storage/log_check.hpp"
#include "storage/segment_growth.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;

namespace {

constexpr u64 mebi = u64{1} << 20;

// As publishers open a lane without options, of messages of any size.
log_writer_options common_log(const scratch_directory& directory) {
  log_writer_options o;
  o.directory = directory.path();
  o.topic = "market/quotes";
  return o;
}

std::string lane_of(const log_writer_options& o) { return lane_directory(o.directory, o.topic, o.name); }

std::vector<u64> sizes(const log_writer_options& o) {
  std::vector<u64> found;
  for (const u64 number : list_segments(lane_of(o))) {
    found.push_back(std::filesystem::file_size(lane_of(o) + "/" + segment_name(number)) / mebi);
  }
  return found;
}

void wait_for_spare(log_writer& w) {
  while (w.keeper().spares() == 0) ::usleep(100);
}

// Messages of a mebibyte.
void append_large(log_writer& w, u64 begin, u64 end) {
  for (u64 n = begin; n < end; ++n) REQUIRE(append(w, n, mebi) == append_status::ok);
}

void check_large(const log_writer_options& o, u64 end) {
  const auto r = read_from_begin(o, true);
  lane_frame frame;
  for (u64 n = 0; n < end; ++n) {
    REQUIRE(r->take(frame) == take_status::message);
    CHECK(frame.sequence == n);
    REQUIRE(is_message(frame.payload, frame.payload_bytes, n));
    r->release(frame);
  }
  CHECK(r->take(frame) == take_status::nothing);
}

}  // namespace

TEST_CASE("a new lane takes 4 MiB of the disk, and 16 MiB for what comes next") {
  const scratch_directory directory;
  const log_writer_options o = common_log(directory);
  {
    const auto w = open_log(o);
    append_all(*w, 0, 10);
    wait_for_spare(*w);
    CHECK(sizes(o) == std::vector<u64>{4, 16});
  }
  CHECK(sizes(o) == std::vector<u64>{4});
}

TEST_CASE("each segment is four times as large as the one before, up to segment_bytes") {
  const scratch_directory directory;
  const log_writer_options o = common_log(directory);
  {
    const auto w = open_log(o);
    append_large(*w, 0, 100);
  }
  std::vector<u64> found = sizes(o);
  REQUIRE(found.size() >= 4);
  found.resize(4);
  CHECK(found == std::vector<u64>{4, 16, 64, 64});
  check_large(o, 100);
  CHECK(verify_lane(lane_of(o)).value().whole());
}

TEST_CASE("the next publisher goes on in a small segment, and with the sizes") {
  const scratch_directory directory;
  const log_writer_options o = common_log(directory);
  for (u64 n = 0; n < 10; n += 2) {
    const auto w = open_log(o);
    append_large(*w, n, n + 2);
  }
  CHECK(sizes(o) == std::vector<u64>{4, 16});
  check_large(o, 10);
}

TEST_CASE("a message for which the next segment is too small waits for a larger one") {
  const scratch_directory directory;
  const log_writer_options o = common_log(directory);
  const auto w = open_log(o);
  append_all(*w, 0, 1);
  wait_for_spare(*w);
  constexpr u32 bytes = 40 * mebi;
  lane_claim claim;
  CHECK(w->appender().claim(bytes, claim) == append_status::not_ready);
  REQUIRE(append(*w, 1, bytes) == append_status::ok);
  append_all(*w, 2, 4);
  CHECK(sizes(o)[0] == 4);
  CHECK(sizes(o)[1] == 64);
  const auto r = read_from_begin(o, true);
  lane_frame frame;
  for (u64 n = 0; n < 4; ++n) {
    REQUIRE(r->take(frame) == take_status::message);
    CHECK(frame.sequence == n);
    CHECK(frame.payload_bytes == (n == 1 ? bytes : size_of(n)));
    CHECK(is_message(frame.payload, frame.payload_bytes, n));
    r->release(frame);
  }
}

TEST_CASE("a message for which every segment is too small is refused at once") {
  const scratch_directory directory;
  const auto w = open_log(common_log(directory));
  lane_claim claim;
  CHECK(w->appender().claim(64 * mebi, claim) == append_status::too_large);
}

TEST_CASE("a lane of large messages begins with a segment that has room for sixteen") {
  segment_kind kind;
  kind.payload_bytes_max = mebi;
  CHECK(grown_segment(kind, 0, 0).segment_bytes == 64 * mebi);
  kind.payload_bytes_max = mebi / 2;
  CHECK(grown_segment(kind, 0, 0).segment_bytes == 16 * mebi);
  kind.payload_bytes_max = 100;
  CHECK(grown_segment(kind, 0, 0).segment_bytes == 4 * mebi);
  CHECK(grown_segment(kind, 16 * mebi, 0).segment_bytes == 64 * mebi);
  CHECK(grown_segment(kind, 64 * mebi, 0).segment_bytes == 64 * mebi);
  kind.segment_bytes = segment_bytes_min;
  CHECK(grown_segment(kind, 0, 0).segment_bytes == segment_bytes_min);
}
