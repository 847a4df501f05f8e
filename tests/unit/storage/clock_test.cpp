// CLOCK_REALTIME is set while a lane is written: stamps follow it, times are found, and lanes are merged as they were
// written.
#include <fcntl.h>

#include <cerrno>
#include <filesystem>

#include "storage/kept_reader.hpp"
#include "storage/lane_clock.hpp"
#include "storage/log_check.hpp"
#include "support/fake_clock.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;
using quoit::start;

namespace {

bool disk_is_full = false;
int allocate(int file, off_t bytes) noexcept {
  if (!disk_is_full) return ::fallocate(file, 0, 0, bytes);
  errno = ENOSPC;
  return -1;
}
int synchronize(int file) noexcept { return ::fdatasync(file); }

constexpr auto hour = static_cast<std::int64_t>(ns_per_hour);

// Messages of 8 bytes, and the time at which each was published. The test itself is the helper.
struct clocked_log {
  explicit clocked_log(const std::string& name = "0", const scratch_directory* shared = nullptr)
      : options(small_log(shared != nullptr ? *shared : own)) {
    disk_is_full = false;
    options.name = name;
    options.own_thread = false;
    options.calls = {allocate, synchronize, populate_pages, fake_clock::source()};
    reopen();
  }
  void reopen() {
    w.reset();
    w = open_log(options);
    work();
  }
  void work() {
    while (w->keeper().work()) {
    }
  }
  // A millisecond apart.
  void publish(u64 count) {
    for (; count > 0; --count) {
      append_all(*w, times.size(), times.size() + 1);
      times.push_back(fake_clock::now());
      fake_clock::pass(ns_per_ms);
      work();
    }
  }
  std::vector<u64> stamps() {
    std::vector<u64> found;
    auto r = read_from_begin(options, true);
    lane_frame frame;
    while (r->take(frame) == take_status::message) {
      found.push_back(frame.stamp);
      r->release(frame);
    }
    return found;
  }
  // The number of the first message from this time on.
  std::optional<u64> find(u64 time) {
    auto r = open_reader(options);
    REQUIRE(r->start_at_time(time).has_value());
    return next_number(*r);
  }
  const std::string& where() const { return w->directory(); }
  std::size_t clocks() {
    std::size_t count = 0;
    for_each_clock(handle_of(where()), list_segments(where()), [&](const lane_clock&) { return ++count != 0; });
    return count;
  }
  void check_whole() {
    const auto v = verify_lane(where()).value();
    INFO((v.faults.empty() ? std::string() : v.faults.front().words));
    CHECK(v.whole());
  }

  scratch_directory own;
  log_writer_options options;
  std::unique_ptr<log_writer> w;
  std::vector<u64> times;
};

}  // namespace

TEST_CASE("stamps follow a clock that is set back, from the first message on") {
  const fake_clock clock;
  clocked_log log;
  log.publish(100);
  fake_clock::step(-hour);
  log.publish(100);
  CHECK(log.stamps() == log.times);
  CHECK(log.clocks() == 2);
  CHECK(begun_segments(log.where()).size() == 2);
  log.check_whole();
}

TEST_CASE("ten messages of 2099 are ten, also when the publisher is started anew") {
  const fake_clock clock;
  clocked_log log;
  log.publish(50);
  fake_clock::step(72 * 365 * 24 * hour);
  log.publish(10);
  SUBCASE("the clock is set back before the next message") {
    fake_clock::step(-72 * 365 * 24 * hour);
    log.publish(50);
  }
  SUBCASE("the clock is set back while there is no publisher") {
    log.w.reset();
    fake_clock::step(-72 * 365 * 24 * hour);
    log.reopen();
    log.publish(50);
    log.reopen();
    log.publish(50);
  }
  CHECK(log.stamps() == log.times);
  CHECK(log.clocks() == 3);
  log.check_whole();
  // What is published from 2030 on was published in 2099, and that was a mistake.
  CHECK(!log.find(fake_clock::now() + 3 * 365 * 24 * ns_per_hour));
  CHECK(log.find(log.times.back()) == log.times.size() - 1);
}

TEST_CASE("a step that is less than a tenth of a second begins no clock, and stamps do not go back") {
  const fake_clock clock;
  clocked_log log;
  log.publish(10);
  fake_clock::step(99'000'000);
  log.publish(10);
  fake_clock::step(-99'000'000);
  log.publish(200);
  const std::vector<u64> stamps = log.stamps();
  CHECK(std::is_sorted(stamps.begin(), stamps.end()));
  CHECK(stamps[15] == log.times[15]);
  CHECK(stamps.back() == log.times.back());
  CHECK(log.clocks() == 1);
  CHECK(begun_segments(log.where()).size() == 1);
  log.check_whole();
}

TEST_CASE("a start by time finds what was published then, on the clock that was set last") {
  const fake_clock clock;
  clocked_log log;
  const u64 begin = fake_clock::now();
  log.publish(3000);
  fake_clock::step(-hour);
  const u64 set_back = fake_clock::now();
  log.publish(3000);
  fake_clock::step(2 * hour);
  log.publish(3000);
  CHECK(begun_segments(log.where()).size() > 20);
  // The last second.
  CHECK(log.find(fake_clock::now() - 600 * ns_per_ms) == 8400);
  for (u64 n = 3000; n < 9000; n += 101) CHECK(log.find(log.times[n]) == n);
  // The clock was set back behind those: they count as published before.
  CHECK(log.find(set_back) == 3000);
  CHECK(log.find(set_back - ns_per_hour) == 0);
  CHECK(log.find(begin) == 6000);
  CHECK(log.find(0) == 0);
  CHECK(!log.find(fake_clock::now()));
  log.reopen();
  CHECK(log.find(log.times[4500]) == 4500);
  // Retention took the begin of a clock.
  for (const u64 number : begun_segments(log.where())) {
    if (number > 3) break;
    std::filesystem::remove(log.where() + "/" + segment_name(number));
  }
  CHECK(log.find(0) == log.find(set_back - ns_per_hour));
  CHECK(log.find(log.times[4500]) == 4500);
}

TEST_CASE("where there is no segment for a new clock, the old one goes on, and nothing is refused") {
  const fake_clock clock;
  clocked_log log;
  log.publish(10);
  // As a full disk does it: the segment that was made ahead is used, and there is no other.
  disk_is_full = true;
  fake_clock::step(-hour);
  log.publish(10);
  fake_clock::step(-hour);
  const u64 behind = log.times.size();
  log.publish(10);
  CHECK(log.clocks() == 2);
  std::vector<u64> stamps = log.stamps();
  for (u64 n = 0; n < behind; ++n) CHECK(stamps[n] == log.times[n]);
  for (u64 n = behind; n < stamps.size(); ++n) CHECK(stamps[n] == log.times[n] + ns_per_hour);
  disk_is_full = false;
  while (log.w->keeper().spares() == 0) {
    log.w->keeper().wait_for_work();
    log.work();
  }
  const u64 room = log.times.size();
  log.publish(10);
  stamps = log.stamps();
  for (u64 n = room; n < stamps.size(); ++n) CHECK(stamps[n] == log.times[n]);
  CHECK(log.clocks() == 3);
  log.check_whole();
}

TEST_CASE("a clock that is set back to where it was, before there was a segment for it, costs nothing") {
  const fake_clock clock;
  clocked_log log;
  log.publish(10);
  disk_is_full = true;
  fake_clock::step(-hour);
  log.publish(10);
  fake_clock::step(-hour);
  log.publish(10);
  fake_clock::step(hour);
  const u64 same_again = log.times.size();
  log.publish(100);
  const std::vector<u64> stamps = log.stamps();
  for (u64 n = same_again; n < stamps.size(); ++n) CHECK(stamps[n] == log.times[n]);
  CHECK(log.clocks() == 2);
  log.check_whole();
}

TEST_CASE("loans that are open when the clock is set keep the order, and what is taken behind them has the new time") {
  for (const std::int64_t step : {-hour, hour}) {
    const fake_clock clock;
    clocked_log log;
    log.publish(10);
    segment_appender& a = log.w->appender();
    lane_claim claims[4];
    for (lane_claim& c : claims) REQUIRE(a.claim(8, c) == append_status::ok);
    fake_clock::step(step);
    const auto commit = [&](u64 n) {
      write_message(claims[n].payload, 8, 10 + n);
      a.commit(claims[n], 8);
      fake_clock::pass(ns_per_ms);
    };
    commit(2);
    commit(0);
    a.abandon(claims[1]);
    commit(3);
    const u64 before = log.stamps().size();
    CHECK(before == 13);
    log.work();
    for (u64 n = 0; n < 20; ++n) log.times.push_back(0);
    log.publish(10);
    const std::vector<u64> stamps = log.stamps();
    REQUIRE(stamps.size() == before + 10);
    // The last one was the only one when it was published: it went to the new clock.
    CHECK(std::is_sorted(stamps.begin(), stamps.begin() + static_cast<std::ptrdiff_t>(before) - 1));
    CHECK(stamps[before - 1] == log.times[9] + 3 * ns_per_ms + static_cast<u64>(step));
    for (std::size_t i = 0; i < 10; ++i) CHECK(stamps[before + i] == log.times[log.times.size() - 10 + i]);
    CHECK(log.clocks() == 2);
    log.check_whole();
  }
}

TEST_CASE("a loan that spans a roll to a new clock is stamped by the clock of its segment") {
  const fake_clock clock;
  clocked_log log;
  segment_appender& a = log.w->appender();
  lane_claim old;
  lane_claim other;
  REQUIRE(a.claim(8, old) == append_status::ok);
  REQUIRE(a.claim(8, other) == append_status::ok);
  fake_clock::step(-hour);
  a.commit(other, 8);  // finds out
  lane_claim next;
  REQUIRE(a.claim(8, next) == append_status::ok);
  fake_clock::pass(ns_per_ms);
  const u64 now = fake_clock::now();
  a.commit(next, 8);
  CHECK(log.stamps().empty());
  a.commit(old, 8);
  const std::vector<u64> stamps = log.stamps();
  REQUIRE(stamps.size() == 3);
  CHECK(stamps[0] <= stamps[1]);
  CHECK(stamps[1] == now + ns_per_hour - ns_per_ms);
  CHECK(stamps[2] == now);
  log.check_whole();
}

TEST_CASE("a message that is shorter than its loan goes to the new clock too") {
  const fake_clock clock;
  clocked_log log;
  log.publish(3);
  fake_clock::step(-hour);
  segment_appender& a = log.w->appender();
  lane_claim claim;
  REQUIRE(a.claim(1000, claim) == append_status::ok);
  std::memset(claim.payload, 'x', 1000);
  write_message(claim.payload, 20, 3);
  const u64 now = fake_clock::now();
  CHECK(a.commit(claim, 20));
  CHECK(log.stamps().back() == now);
  CHECK(log.clocks() == 2);
  auto r = read_from_begin(log.options, true);
  CHECK(read_on(*r, 0) == 4);
  log.check_whole();
}

TEST_CASE("lanes are merged as they were written, however the clock is set meanwhile") {
  const fake_clock clock;
  const scratch_directory directory;
  clocked_log a("a", &directory);
  clocked_log b("b", &directory);
  std::vector<u64> expected;  // 0 for a, 1 for b
  u64 random = 7;
  const auto publish = [&](u64 count) {
    for (; count > 0; --count) {
      random = random * 6364136223846793005 + 1442695040888963407;
      const bool second = random >> 63 != 0;
      (second ? b : a).publish(1);
      expected.push_back(second ? 1 : 0);
    }
  };
  publish(200);
  fake_clock::step(-hour);
  // Only one of them finds out at first.
  a.publish(5);
  expected.insert(expected.end(), 5, 0);
  fake_clock::pass(10 * ns_per_s);
  publish(200);
  fake_clock::step(3 * hour);
  publish(200);
  fake_clock::step(-hour / 2);
  a.reopen();
  publish(200);
  for (const bool from_time : {false, true}) {
    const u64 begin = from_time ? 700 : 0;
    u64 time = 0;
    u64 before[2] = {};
    for (u64 n = 0; n < begin; ++n) ++before[expected[n]];
    if (from_time) time = expected[begin] != 0 ? b.times[before[1]] : a.times[before[0]];
    auto reader = kept_reader::open(directory.path(), a.options.topic, std::nullopt, 4,
                                    from_time ? start{start::from::time, time} : start::earliest)
                      .value();
    lane_frame frame;
    kept_lane* lane = nullptr;
    u64 n = begin;
    while (reader->take(frame, lane) == take_status::message) {
      const u64 which = lane->name == "b" ? 1 : 0;
      u64 number = 0;
      std::memcpy(&number, frame.payload, 8);
      CAPTURE(n);
      REQUIRE(which == expected[n]);
      REQUIRE(number == before[which]++);
      reader->release(*lane, frame);
      ++n;
    }
    CHECK(n == expected.size());
  }
}

namespace {

// The segments from `first` on are of another boot.
void make_another_boot(const std::string& where, u64 first, u8 boot) {
  for (const u64 number : list_segments(where)) {
    if (number < first) continue;
    const auto segment = open_segment(where, number, access::read_write).value();
    segment_header& head = segment->header();
    head.prefix.boot_id[0] = static_cast<u8>(head.prefix.boot_id[0] ^ boot);
    head.check = header_check(head);
  }
}

}  // namespace

TEST_CASE("a boot whose clock was wrong all the time is merged where it was, between the boots around it") {
  const fake_clock clock;
  const scratch_directory directory;
  clocked_log a("a", &directory);
  clocked_log b("b", &directory);
  std::vector<u64> expected;
  const auto publish = [&](u64 count) {
    for (; count > 0; --count) {
      for (const u64 which : {u64{1}, u64{0}, u64{1}}) {
        (which != 0 ? b : a).publish(1);
        expected.push_back(which);
      }
    }
  };
  const std::int64_t steps[] = {50 * 365 * 24 * hour, -57 * 365 * 24 * hour, 7 * 365 * 24 * hour};
  u8 boot = 1;
  u64 first[2] = {1, 1};
  for (const std::int64_t step : steps) {
    publish(50);
    a.w.reset();
    b.w.reset();
    const std::string lanes[2] = {lane_directory(directory.path(), a.options.topic, "a"),
                                  lane_directory(directory.path(), a.options.topic, "b")};
    for (int i = 0; i < 2; ++i) {
      const u64 next = list_segments(lanes[i]).back() + 1;
      make_another_boot(lanes[i], first[i], boot);
      first[i] = next;
    }
    ++boot;
    // Time since the machine started begins anew.
    const u64 now = fake_clock::now();
    fake_boottime = ns_per_s;
    fake_clock::set(now);
    fake_clock::step(step);
    a.reopen();
    b.reopen();
  }
  publish(50);
  auto reader = kept_reader::open(directory.path(), a.options.topic, std::nullopt, 4, start::earliest).value();
  lane_frame frame;
  kept_lane* lane = nullptr;
  u64 n = 0;
  for (; reader->take(frame, lane) == take_status::message; ++n) {
    CAPTURE(n);
    REQUIRE((lane->name == "b" ? 1u : 0u) == expected[n]);
    reader->release(*lane, frame);
  }
  CHECK(n == expected.size());
}

TEST_CASE("a lane whose last segment says nothing of its clock goes on in another") {
  const fake_clock clock;
  clocked_log log;
  log.publish(10);
  const std::string where = log.where();
  log.w.reset();
  {
    const auto segment = open_segment(where, 1, access::read_write).value();
    segment->header().clock = {};
  }
  fake_clock::step(-hour);
  log.reopen();
  log.publish(10);
  CHECK(log.stamps() == log.times);
  CHECK(begun_segments(log.where()).size() == 2);
  log.check_whole();
  // Of the older part the clock is not known: it is searched as it is.
  CHECK(log.find(log.times[15]) == 15);
}

TEST_CASE("a publisher that dies behind a roll to a new clock leaves a lane that goes on with it") {
  const fake_clock clock;
  clocked_log log;
  log.publish(10);
  fake_clock::step(-hour);
  log.publish(10);
  const std::string where = log.where();
  log.w.reset();
  {
    // S5: it had not said yet where the second segment begins.
    const auto segment = open_segment(where, 2, access::read_write).value();
    segment->header().start = {};
    const auto lane = open_lane_directory_to_write(handle_of(where)).value();
    forget_end(lane.header());
    note_begun(lane.header(), 1);
  }
  log.reopen();
  log.publish(10);
  CHECK(log.stamps() == log.times);
  log.check_whole();
  CHECK(log.find(log.times[15]) == 15);
}

TEST_CASE("a wrong record of a clock is found, and mended or cleared") {
  for (const bool one_bit : {false, true}) {
    const fake_clock clock;
    clocked_log log;
    log.publish(10);
    fake_clock::step(-hour);
    log.publish(10);
    const std::string where = log.where();
    log.w.reset();
    segment_clock right{};
    {
      const auto segment = open_segment(where, 2, access::read_write).value();
      REQUIRE(segment->read_clock(right));
      segment->header().clock.since ^= one_bit ? 8 : 9;
    }
    const auto v = verify_lane(where).value();
    REQUIRE(v.faults.size() == 1);
    CHECK(v.faults[0].words.find("clock") != std::string::npos);
    REQUIRE(repair_lane(where).has_value());
    CHECK(verify_lane(where).value().whole());
    const auto segment = open_segment(where, 2, access::read).value();
    segment_clock mended{};
    CHECK(segment->read_clock(mended) == one_bit);
    if (one_bit) CHECK(mended.since == right.since);
    CHECK(log.stamps() == log.times);
  }
}
