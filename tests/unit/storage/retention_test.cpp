// What is removed of a lane, by bytes and by age, with readers in it and without, and how much of that is done at once.
#include "storage/retention.hpp"

#include <fcntl.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "storage/log_check.hpp"
#include "support/fake_clock.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;

namespace {

int allocate(int file, off_t bytes) noexcept { return ::fallocate(file, 0, 0, bytes); }
int synchronize(int file) noexcept { return ::fdatasync(file); }

constexpr auto hour = static_cast<std::int64_t>(ns_per_hour);
constexpr u64 age = ns_per_hour;

// The test itself is the helper, and sets the clock. A message has 400 bytes, a segment about 150 of them.
struct retained_log {
  retained_log() : options(small_log(directory)) {
    options.own_thread = false;
    options.calls = {allocate, synchronize, populate_pages, fake_clock::source()};
  }
  void open() { w = open_log(options); }
  void work() {
    while (w->keeper().work()) {
    }
  }
  // Fills so many segments, a second apart.
  void fill(u64 segments) {
    for (const u64 end = w->keeper().current().number + segments; w->keeper().current().number < end;) {
      REQUIRE(append(*w, n, 400) == append_status::ok);
      if (++n % 100 == 0) fake_clock::pass(ns_per_s);
      work();
    }
  }
  std::vector<u64> begun() { return begun_segments(w->directory()); }

  const scratch_directory directory;
  log_writer_options options;
  std::unique_ptr<log_writer> w;
  u64 n = 0;
};

std::vector<u64> from_to(u64 first, u64 last) {
  std::vector<u64> numbers;
  for (u64 i = first; i <= last; ++i) numbers.push_back(i);
  return numbers;
}

// The segments in [first, last] are of another boot.
void make_another_boot(const std::string& lane, u64 first, u64 last) {
  for (u64 number = first; number <= last; ++number) {
    const auto segment = open_segment(lane, number, access::read_write).value();
    segment_header& head = segment->header();
    head.prefix.boot_id[0] ^= 1;
    head.check = header_check(head);
  }
}

}  // namespace

TEST_CASE("retention by age removes what is older, and nothing that is younger") {
  const fake_clock clock;
  retained_log log;
  log.options.retention.age_ns = age;
  log.open();
  log.fill(4);
  fake_clock::pass(ns_per_hour / 2);
  log.fill(4);
  CHECK(log.begun() == from_to(1, 9));
  fake_clock::pass(ns_per_hour / 2);
  // Nothing is published meanwhile: the publisher looks all the same.
  log.work();
  CHECK(log.begun() == from_to(5, 9));
  fake_clock::pass(ns_per_hour);
  log.work();
  CHECK(log.begun() == from_to(9, 9));
}

TEST_CASE("a clock that is ahead for some time makes nothing old that was published since the machine started") {
  for (const std::int64_t step : {2 * hour, 70 * 365 * 24 * hour}) {
    const fake_clock clock;
    retained_log log;
    log.options.retention.age_ns = age;
    log.open();
    log.fill(5);
    fake_clock::step(step);
    log.fill(3);
    fake_clock::step(-step);
    log.fill(2);
    // A new clock begins with a segment, twice.
    CHECK(log.begun().front() == 1);
    const u64 last = log.begun().back();
    // And when its time has come it goes, with the segments that were stamped in the future.
    fake_clock::pass(ns_per_hour);
    log.work();
    CHECK(log.begun() == from_to(last, last));
  }
}

TEST_CASE("what an earlier boot published is aged by the clock, once that may be believed") {
  const fake_clock clock;
  retained_log log;
  log.open();
  log.fill(4);
  const std::string lane = log.w->directory();
  log.w.reset();
  make_another_boot(lane, 1, 5);
  log.options.retention.age_ns = age;
  SUBCASE("it is right") {
    fake_clock::pass(2 * ns_per_hour);
    log.open();
    log.fill(1);
    CHECK(log.begun().front() == 1);
    fake_clock::pass(10 * 60 * ns_per_s);
    log.work();
    CHECK(log.begun() == from_to(6, 7));
  }
  SUBCASE("it is ahead for a while") {
    fake_clock::step(1000 * hour);
    log.open();
    log.fill(1);
    fake_clock::pass(60 * ns_per_s);
    log.work();
    fake_clock::step(-1000 * hour);
    log.fill(1);
    fake_clock::pass(15 * 60 * ns_per_s);
    log.work();
    CHECK(log.begun().front() == 1);
    fake_clock::pass(ns_per_hour);
    log.work();
    CHECK(log.begun().front() > 5);
  }
  SUBCASE("it was ahead in that boot: what was published then is not kept until it is") {
    fake_clock::step(-50 * 365 * 24 * hour);
    log.open();
    log.fill(1);
    fake_clock::pass(59 * 60 * ns_per_s);
    log.work();
    CHECK(log.begun().front() == 1);
    fake_clock::pass(2 * 60 * ns_per_s);
    log.work();
    CHECK(log.begun().front() > 5);
  }
}

TEST_CASE("a publisher that has nothing to publish removes what is too old by itself") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.retention.age_ns = static_cast<u64>(std::chrono::nanoseconds(300ms).count());
  auto w = open_log(options);
  append_all(*w, 0, 2000);
  const u64 last = w->keeper().current().number;
  REQUIRE(last > 5);
  while (begun_segments(w->directory()).front() != last) ::usleep(10'000);
  auto r = read_from_begin(options);
  CHECK(read_on(*r, r->sequence()) == 2000);
}

TEST_CASE("a lane with many segments too many makes its next segment first, and removes one at a time") {
  const fake_clock clock;
  retained_log log;
  log.open();
  log.fill(60);
  log.w.reset();
  log.options.retention.bytes = 8 * segment_bytes_min;
  log.open();
  REQUIRE(log.begun() == from_to(1, 61));
  CHECK(log.w->keeper().spares() == 0);
  log.w->keeper().work();
  CHECK(log.w->keeper().spares() == 1);
  std::size_t before = log.begun().size();
  while (log.w->keeper().work()) {
    const std::size_t now = log.begun().size();
    CHECK(now + 1 >= before);
    before = now;
  }
  CHECK(log.begun() == from_to(54, 61));
}

TEST_CASE("a segment that a reader is in stays, and is removed when the lane has more than its hard limit") {
  const fake_clock clock;
  retained_log log;
  log.options.retention.bytes = 4 * segment_bytes_min;
  log.options.retention.bytes_max = 10 * segment_bytes_min;
  log.open();
  log.fill(1);
  auto r = read_from_begin(log.options);
  CHECK(next_number(*r) == 0);
  lane_frame held;
  REQUIRE(r->take(held) == take_status::message);
  log.fill(8);
  CHECK(log.begun() == from_to(1, 10));
  log.fill(20);
  // The reader's segment went, and with it all that was kept for it.
  CHECK(log.begun().size() <= 10);
  CHECK(log.begun().front() > 15);
  // What it holds is what it was, and it reads on in the file for a little while.
  CHECK(is_message(held.payload, held.payload_bytes, 1));
  u64 n = 2;
  lane_frame frame;
  take_status status = take_status::message;
  while ((status = r->take(frame)) == take_status::message) {
    REQUIRE(is_message(frame.payload, frame.payload_bytes, n++));
    r->release(frame);
  }
  REQUIRE(status == take_status::lagged);
  CHECK(n < 200);
  CHECK(is_message(held.payload, held.payload_bytes, 1));
  r->release(held);
  // The count is exact.
  CHECK(next_number(*r) == n + r->lost());
  CHECK(read_on(*r, n + r->lost() + 1) == log.n);
  CHECK(r->lost_total() == r->lost());
}

TEST_CASE("readers that are too slow for the hard limit lose what they are told, and read nothing else") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.retention.bytes_max = 6 * segment_bytes_min;
  auto w = open_log(options);
  constexpr u64 count = 60'000;
  std::atomic<bool> over = false;
  std::atomic<u64> failures = 0;
  const auto read = [&](u64 pause_us) {
    auto r = log_reader::open(options.directory, options.topic, options.name, 4).value();
    if (!r->start_at_earliest()) return;
    u64 expected = r->sequence();
    lane_frame frame;
    for (;;) {
      const bool last_look = over;
      const take_status status = r->take(frame);
      if (status == take_status::lagged) expected += r->lost();
      if (status == take_status::message) {
        u64 n = 0;
        std::memcpy(&n, frame.payload, 8);
        if (n != expected++ || !is_message(frame.payload, frame.payload_bytes, n)) ++failures;
        r->release(frame);
        if (pause_us != 0 && n % 64 == 0) ::usleep(static_cast<useconds_t>(pause_us));
      } else if (status != take_status::lagged && status != take_status::nothing) {
        ++failures;
        return;
      }
      if (status == take_status::nothing && last_look) break;
    }
    if (expected != count) ++failures;
  };
  std::thread readers[] = {std::thread(read, 0), std::thread(read, 500), std::thread(read, 3000)};
  append_all(*w, 0, count);
  over = true;
  for (std::thread& t : readers) t.join();
  CHECK(failures == 0);
  CHECK(begun_segments(w->directory()).size() <= 8);
}
