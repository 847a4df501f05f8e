// Segments that are made ahead of the publisher: how many, when they are populated, and what becomes of them.
#include <atomic>
#include <cerrno>

#include <fcntl.h>

#include "storage/log_check.hpp"
#include "storage/segment_growth.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

std::atomic<u64> allocations_left = ~u64{0};
std::atomic<u64> populated_bytes = 0;
std::atomic<u64> populate_calls = 0;
std::atomic<segment_keeper*> stopped_by_populating = nullptr;

int allocate(int file, off_t bytes) noexcept {
  if (allocations_left > 0) {
    --allocations_left;
    return ::fallocate(file, 0, 0, bytes);
  }
  errno = ENOSPC;
  return -1;
}
int synchronize(int file) noexcept { return ::fdatasync(file); }
void populate(const mapping& memory, u64 begin, u64 end) noexcept {
  ++populate_calls;
  populated_bytes += end - begin;
  if (segment_keeper* const keeper = stopped_by_populating) keeper->stop();
  populate_pages(memory, begin, end);
}

// The test itself is the helper.
log_writer_options watched_log(const scratch_directory& directory) {
  allocations_left = ~u64{0};
  populated_bytes = populate_calls = 0;
  stopped_by_populating = nullptr;
  auto o = small_log(directory);
  o.own_thread = false;
  o.calls = {allocate, synchronize, populate};
  return o;
}

void work(log_writer& w) {
  while (w.keeper().work()) {
  }
}

// Publishes from message n on until it is refused; returns the first message that was not published.
u64 publish_all(log_writer& w, u64 n, append_status expected) {
  for (;; ++n) {
    lane_claim claim;
    const append_status status = w.appender().claim(size_of(n), claim);
    if (status != append_status::ok) {
      CHECK(status == expected);
      return n;
    }
    write_message(claim.payload, size_of(n), n);
    w.appender().commit(claim, size_of(n));
  }
}

}  // namespace

TEST_CASE("one segment is made ahead, and many once the publisher came for one that was not there") {
  const scratch_directory directory;
  auto w = open_log(watched_log(directory));
  CHECK(w->keeper().spares() == 0);
  work(*w);
  CHECK(w->keeper().spares() == 1);
  u64 n = publish_all(*w, 0, append_status::not_ready);
  CHECK(list_segments(w->directory()).size() == 2);
  CHECK(w->keeper().spares_wanted() == segment_keeper::spares_max);
  work(*w);
  CHECK(w->keeper().spares() == segment_keeper::spares_max);
  n = publish_all(*w, n, append_status::not_ready);
  CHECK(list_segments(w->directory()).size() == 2 + segment_keeper::spares_max);
  auto r = read_from_begin(watched_log(directory));
  CHECK(read_on(*r, 0) == n);
}

TEST_CASE("a publisher that takes its time has one segment less made ahead each time it takes one") {
  const scratch_directory directory;
  auto w = open_log(watched_log(directory));
  work(*w);
  u64 n = publish_all(*w, 0, append_status::not_ready);
  const u32 wanted = w->keeper().spares_wanted();
  work(*w);
  for (u32 less = 1; less <= 2; ++less) {
    std::this_thread::sleep_for(300ms);
    const u32 before = w->keeper().spares();
    while (w->keeper().spares() == before) {
      REQUIRE(append(*w, n) == append_status::ok);
      ++n;
    }
    CHECK(w->keeper().spares_wanted() == wanted - less);
  }
}

TEST_CASE("what is made ahead is at most a quarter of what is kept, and does not count as kept") {
  const scratch_directory directory;
  auto options = watched_log(directory);
  options.retention.bytes = 8 * segment_bytes_min;
  auto w = open_log(options);
  u64 n = 0;
  for (int i = 0; i < 20; ++i) {
    work(*w);
    n = publish_all(*w, n, append_status::not_ready);
  }
  work(*w);
  CHECK(w->keeper().spares() == 2);
  CHECK(begun_segments(w->directory()).size() == 8);
}

TEST_CASE("a disk that is full at the second segment made ahead refuses nothing until the first is used") {
  const scratch_directory directory;
  auto w = open_log(watched_log(directory));
  work(*w);
  u64 n = publish_all(*w, 0, append_status::not_ready);
  allocations_left = 1;
  work(*w);
  CHECK(w->keeper().spares() == 1);
  CHECK(w->keeper().supply_failure() == errc::no_space);
  const u64 first = n;
  n = publish_all(*w, n, append_status::no_space);
  CHECK(n > first);
  // It is tried again when some time has passed, and when there is room nothing is missing.
  allocations_left = ~u64{0};
  while (w->keeper().spares() == 0) {
    w->keeper().wait_for_work();
    w->keeper().work();
  }
  CHECK(w->keeper().supply_failure() == errc{});
  CHECK(append(*w, n) == append_status::ok);
  auto r = read_from_begin(watched_log(directory));
  CHECK(read_on(*r, 0) == n + 1);
}

TEST_CASE("opening a lane touches a mebibyte, and the helper the rest of its segment, and all of the next") {
  const scratch_directory directory;
  auto options = watched_log(directory);
  options.kind.segment_bytes = u64{16} << 20;
  auto w = open_log(options);
  CHECK(populated_bytes == u64{1} << 20);
  work(*w);
  const auto first = open_segment(w->directory(), 1, access::read).value();
  const u64 both_bytes = first_segment_bytes + options.kind.segment_bytes;
  CHECK(populated_bytes == both_bytes - first->geometry.data_offset);
}

TEST_CASE("with a flush in sight only a mebibyte of a segment is touched ahead") {
  const scratch_directory directory;
  auto options = watched_log(directory);
  options.kind.segment_bytes = u64{16} << 20;
  options.durability = log_durability::each;
  auto w = open_log(options);
  work(*w);
  const u64 header = w->appender().geometry().data_offset;
  CHECK(populated_bytes == 2 * (u64{1} << 20) + header);
}

TEST_CASE("a helper that is stopped while it populates a segment does not go on to its end, and leaves a whole lane") {
  const scratch_directory directory;
  auto options = watched_log(directory);
  options.kind.segment_bytes = u64{32} << 20;
  options.own_thread = true;
  u64 before = 0;
  {
    auto w = open_log(options);
    while (w->keeper().spares() == 0) ::usleep(1000);
    append_all(*w, 0, 100);
    before = populate_calls;
    stopped_by_populating = &w->keeper();
    // To the next segment, and to the helper making another one.
    lane_claim claim;
    w->appender().leave();
    REQUIRE(claim_waiting(*w, 8, claim) == append_status::ok);
    w->appender().abandon(claim);
    while (!w->keeper().stopped()) ::usleep(1000);
  }
  CHECK(populate_calls == before + 1);
  stopped_by_populating = nullptr;
  CHECK(verify_lane(lane_directory(options.directory, options.topic, "0")).value().whole());
  auto w = open_log(options);
  append_all(*w, 100, 200);
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == 200);
}

TEST_CASE("a publisher that goes takes with it what was made ahead") {
  const scratch_directory directory;
  const auto options = watched_log(directory);
  std::string lane;
  u64 n = 0;
  {
    auto w = open_log(options);
    work(*w);
    n = publish_all(*w, n, append_status::not_ready);
    work(*w);
    lane = w->directory();
    CHECK(list_segments(lane).size() == 2 + segment_keeper::spares_max);
  }
  CHECK(list_segments(lane).size() == 2);
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == n);
}
