// Segments that were cut, flipped, lost, or made by somebody else: named, never delivered, never a crash.
#include <fstream>
#include <random>

#include <fcntl.h>

#include "storage/frame_walk.hpp"
#include "storage/log_check.hpp"
#include "support/log_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using quoit::errc;

namespace {

constexpr u64 count = 1000;

// A lane that nobody writes.
struct resting_lane {
  resting_lane() : options(small_log(directory)) {
    options.durability = log_durability::each;
    auto w = open_log(options);
    for (u64 n = 0; n < count; ++n) {
      REQUIRE(append(*w, n) == append_status::ok);
      if (n % 50 != 3) continue;
      lane_claim claim;
      REQUIRE(claim_waiting(*w, 100, claim) == append_status::ok);
      w->appender().abandon(claim);
    }
    REQUIRE(w->flush(std::chrono::seconds(60)).has_value());
    lane = w->directory();
    w.reset();
    // The segment that was made ahead has nothing in it.
    segment_start start{};
    numbers = list_segments(lane);
    while (!open_segment(lane, numbers.back(), access::read).value()->read_start(start)) numbers.pop_back();
  }
  std::string path(u64 number) const { return lane + "/" + segment_name(number); }
  log_verification verify() const { return verify_lane(lane).value(); }
  // Reads what can be read, checking it, until nothing or corrupt comes; how many messages there were.
  u64 read_all(take_status* end = nullptr) const {
    auto r = log_reader::open(options.directory, options.topic, "0", 4, true);
    if (!r) return 0;
    if (!(*r)->start_at_earliest()) return 0;
    u64 got = 0;
    u64 last = 0;
    for (;;) {
      lane_frame frame;
      const take_status status = (*r)->take(frame);
      if (status == take_status::lagged) continue;
      if (end != nullptr) *end = status;
      if (status != take_status::message) return got;
      u64 n = 0;
      std::memcpy(&n, frame.payload, 8);
      CHECK(is_message(frame.payload, frame.payload_bytes, n));
      if (got > 0) CHECK(n > last);
      last = n;
      ++got;
      (*r)->release(frame);
    }
  }

  scratch_directory directory;
  log_writer_options options;
  std::string lane;
  std::vector<u64> numbers;
};

void flip(const std::string& path, u64 at, u32 bit) {
  const fd file(::open(path.c_str(), O_RDWR));
  char byte = 0;
  REQUIRE(::pread(file.get(), &byte, 1, static_cast<off_t>(at)) == 1);
  byte = static_cast<char>(byte ^ (1 << bit));
  REQUIRE(::pwrite(file.get(), &byte, 1, static_cast<off_t>(at)) == 1);
}

}  // namespace

TEST_CASE("a lane that is whole verifies, and says what is in it") {
  const resting_lane l;
  const auto v = l.verify();
  INFO((v.faults.empty() ? std::string() : v.faults.front()));
  CHECK(v.whole());
  CHECK(v.messages == count);
  CHECK(v.voids == 20);
  CHECK(v.next_sequence == count + 20);
  CHECK(v.first_stamp <= v.last_stamp);
  CHECK(v.durable_position > 0);
  CHECK(!v.held);
}

TEST_CASE("a bit flipped anywhere is found and named, and no reader delivers what it is in") {
  const resting_lane l;
  std::mt19937_64 random(11);
  const u64 flips = fast() ? 300 : 3000;
  for (u64 i = 0; i < flips; ++i) {
    const u64 number = l.numbers[random() % l.numbers.size()];
    // Each part of a file in its turn: header, index, data.
    const u64 end = i % 3 == 0 ? 2480 : i % 3 == 1 ? 4096 + 32 * 16 : segment_bytes_min;
    const u64 at = random() % end;
    const auto segment = open_segment(l.lane, number, access::read).value();
    segment_start start{};
    REQUIRE(segment->read_start(start));
    const auto bit = static_cast<u32>(random() % 8);
    flip(l.path(number), at, bit);
    const auto v = l.verify();
    bool in_rolled_rest = false;
    if (v.whole()) {
      // Nothing but the rest that a roll passes over may change unseen.
      log_place place{start.position, start.sequence, start.voids, start.stamp};
      frame_step step;
      while ((step = look_at_frame(*segment, start.position, place, true)).kind != step_kind::rolled &&
             step.kind != step_kind::end) {
        place = behind(place, step);
      }
      in_rolled_rest = step.kind == step_kind::rolled &&
                       at >= segment->geometry.data_offset + (place.position - start.position) + word_bytes;
      if (!in_rolled_rest) FAIL_CHECK("not found: segment " << number << " byte " << at << " bit " << bit);
    } else {
      CHECK(v.faults.front().find(segment_name(number)) != std::string::npos);
    }
    l.read_all();
    flip(l.path(number), at, bit);
  }
  CHECK(l.verify().whole());
  CHECK(l.read_all() == count);
}

TEST_CASE("damage before the durable position is corrupt for readers and publishers, until it is repaired") {
  const resting_lane l;
  const u64 number = l.numbers[l.numbers.size() / 2];
  {
    const auto segment = open_segment(l.lane, number, access::read).value();
    flip(l.path(number), segment->geometry.data_offset + 20'000, 3);
  }
  // Of this boot it is believed, unless everything is to be checked.
  take_status end = take_status::message;
  const u64 before = l.read_all(&end);
  CHECK(end == take_status::corrupt);
  CHECK(before > 0);
  CHECK(before < count);

  // On a copy, which is not of this boot, the publisher refuses it too.
  const scratch_directory copy;
  std::filesystem::copy(l.directory.path(), copy.path(), std::filesystem::copy_options::recursive);
  auto options = l.options;
  options.directory = copy.path();
  const std::string lane = lane_directory(copy.path(), options.topic, "0");
  const auto whole_lane_is_durable = log_writer::open(options);
  CHECK(whole_lane_is_durable.has_value());  // it goes on at the end, and does not look at what is durable

  const auto repaired = repair_lane(l.lane);
  REQUIRE(repaired.has_value());
  CHECK(repaired->cut.find(segment_name(number)) != std::string::npos);
  CHECK(repaired->bytes_cut > 0);
  const u64 after = l.read_all(&end);
  CHECK(end == take_status::nothing);
  // Only the rest of that segment is missing.
  CHECK(after > before);
  CHECK(after + 400 > count);
  CHECK(l.verify().whole());
  auto w = open_log(l.options);
  append_all(*w, 5000, 5100);
  CHECK(l.read_all(&end) == after + 100);
  CHECK(end == take_status::nothing);
}

TEST_CASE("a segment that is cut short, foreign, of a newer version, or gone, is named") {
  const resting_lane l;
  const u64 number = l.numbers[l.numbers.size() / 2];
  const std::string path = l.path(number);
  const scratch_directory safe;
  std::filesystem::copy_file(path, safe.path() + "/whole");
  const auto restore = [&] {
    std::filesystem::copy_file(safe.path() + "/whole", path, std::filesystem::copy_options::overwrite_existing);
  };
  const auto check = [&](const std::string& words, errc code) {
    const auto v = l.verify();
    REQUIRE(!v.whole());
    CHECK(v.faults.front().find(words) != std::string::npos);
    const auto w = log_writer::open(l.options);
    if (!w) CHECK(w.error() == code);
    take_status end = take_status::message;
    CHECK(l.read_all(&end) < count);
    CHECK((end == take_status::corrupt || end == take_status::newer_version));
  };
  std::filesystem::resize_file(path, 50'000);
  check("cut short: 50000 bytes", errc::corrupt);
  std::filesystem::resize_file(path, 100);
  check("cut short: 100 bytes", errc::corrupt);
  restore();
  std::ofstream(path, std::ios::binary | std::ios::in).write("somebody else's", 15);
  check("not a segment of quoit", errc::corrupt);
  restore();
  {
    const fd file(::open(path.c_str(), O_RDWR));
    REQUIRE(::pwrite(file.get(), "\x02", 1, 8) == 1);
  }
  check("made by a version of another layout (2", errc::newer_version);
  restore();
  std::filesystem::copy_file(l.path(l.numbers[0]), path, std::filesystem::copy_options::overwrite_existing);
  check("is segment 1 under another name", errc::corrupt);
  std::filesystem::remove(path);
  {
    const auto v = l.verify();
    REQUIRE(!v.whole());
    CHECK(v.faults.front().find("segment " + std::to_string(number) + " is missing") != std::string::npos);
    CHECK(log_writer::open(l.options).error() == errc::corrupt);
  }
  // Readers step over it and say how many messages are missing; a repair lets publishers go on, too.
  take_status end = take_status::message;
  const u64 rest = l.read_all(&end);
  CHECK(end == take_status::nothing);
  REQUIRE(repair_lane(l.lane).has_value());
  append_all(*open_log(l.options), 5000, 5010);
  CHECK(l.read_all(&end) == rest + 10);
}

TEST_CASE("a lane's file that is foreign, or cut short, is named") {
  const resting_lane l;
  std::filesystem::resize_file(l.lane + "/lane", 10);
  CHECK(log_writer::open(l.options).error() == errc::corrupt);
  CHECK(log_reader::open(l.options.directory, l.options.topic, "0", 4).error() == errc::corrupt);
  CHECK(!l.verify().whole());
  CHECK(log_reader::open(l.options.directory, l.options.topic, "no-such", 4).error() == errc::not_found);
  CHECK(log_reader::open(l.options.directory, l.options.topic, "../0", 4).error() == errc::invalid_name);
}

TEST_CASE("a lane on a disk that is read-only, or is no disk, is refused with the reason") {
  auto options = small_log(scratch_directory());
  options.directory = "/proc/quoit";
  CHECK(!log_writer::open(options));
  options.directory = "/no/such/directory";
  const auto missing = log_writer::open(options);
  REQUIRE(!missing);
  CHECK(missing.error() == errc::not_found);
}
