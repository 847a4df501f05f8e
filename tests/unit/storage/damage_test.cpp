// Segments that were cut, flipped, lost, or made by somebody else: named, never delivered, never a crash.
#include <fstream>
#include <functional>
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
  INFO((v.faults.empty() ? std::string() : v.faults.front().words));
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
    const u64 end = i % 3 == 0 ? 2536 : i % 3 == 1 ? 4096 + 32 * 16 : segment_bytes_min;
    const u64 at = random() % end;
    const auto segment = open_segment(l.lane, number, access::read).value();
    segment_start start{};
    REQUIRE(segment->read_start(start));
    const auto bit = static_cast<u32>(random() % 8);
    flip(l.path(number), at, bit);
    const auto v = l.verify();
    bool in_rolled_rest = false;
    if (v.whole() && v.remains.empty()) {
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
      const log_fault& named = v.whole() ? v.remains.front() : v.faults.front();
      CHECK(named.words.find(segment_name(number)) != std::string::npos);
      CHECK(named.path.find(segment_name(number)) != std::string::npos);
    }
    l.read_all();
    flip(l.path(number), at, bit);
  }
  CHECK(l.verify().whole());
  CHECK(l.read_all() == count);
}

TEST_CASE("a repair makes a lane whole whichever bit was flipped, and gives up no more than the rest of a segment") {
  const resting_lane l;
  const scratch_directory safe;
  const auto copy_all = [](const std::string& from, const std::string& to) {
    for (const auto& file : std::filesystem::directory_iterator(from)) {
      std::filesystem::copy_file(file, to + "/" + file.path().filename().string(),
                                 std::filesystem::copy_options::overwrite_existing);
    }
  };
  copy_all(l.lane, safe.path());
  std::mt19937_64 random(13);
  const u64 flips = fast() ? 120 : 1200;
  for (u64 i = 0; i < flips; ++i) {
    const u64 number = l.numbers[random() % l.numbers.size()];
    const auto segment = open_segment(l.lane, number, access::read).value();
    const u64 data_offset = segment->geometry.data_offset;
    const u64 end = i % 3 == 0 ? 2536 : i % 3 == 1 ? data_offset : segment_bytes_min;
    const u64 at = random() % end;
    const auto bit = static_cast<u32>(random() % 8);
    INFO("segment ", number, " byte ", at, " bit ", bit);
    flip(l.path(number), at, bit);
    const auto before = l.verify();
    const auto rehearsed = repair_lane(l.lane, true);
    REQUIRE(rehearsed.has_value());
    CHECK(l.verify().faults.size() == before.faults.size());
    const auto repaired = repair_lane(l.lane);
    REQUIRE(repaired.has_value());
    CHECK(repaired->cuts == rehearsed->cuts);
    CHECK(repaired->mended == rehearsed->mended);
    CHECK(repaired->bytes_cut == rehearsed->bytes_cut);
    CHECK((before.whole() || !repaired->cuts.empty() || !repaired->mended.empty()));
    const auto after = l.verify();
    CHECK_MESSAGE(after.whole(), (after.faults.empty() ? std::string() : after.faults.front().words));
    // Only in the data is anything there that is nowhere else.
    if (at < data_offset) {
      CHECK(repaired->cuts.empty());
      CHECK(after.messages == count);
    } else {
      CHECK(after.messages + 270 > count);
    }
    CHECK(l.read_all() == after.messages);
    for (const auto& file : std::filesystem::directory_iterator(l.lane)) std::filesystem::remove(file);
    copy_all(safe.path(), l.lane);
  }
}

TEST_CASE("what is published after a repair is read, wherever the damage was, on the lane itself and on a copy") {
  std::mt19937_64 random(5);
  for (int i = 0; i < (fast() ? 8 : 40); ++i) {
    resting_lane l;
    const scratch_directory copy;
    const bool copied = i % 2 == 1;
    if (copied) {
      // Not of this boot: nothing of it is believed.
      std::filesystem::copy(l.directory.path(), copy.path(), std::filesystem::copy_options::recursive);
      l.options.directory = copy.path();
      l.lane = lane_directory(copy.path(), l.options.topic, "0");
    }
    const u64 number = i % 4 < 2 ? l.numbers.back() : l.numbers[random() % l.numbers.size()];
    {
      const auto segment = open_segment(l.lane, number, access::read).value();
      u64 used = segment->geometry.data_bytes;
      while (segment->data()[used - 1] == std::byte{}) --used;
      flip(l.path(number), segment->geometry.data_offset + random() % used, static_cast<u32>(random() % 8));
    }
    INFO("turn ", i, " segment ", number);
    REQUIRE(repair_lane(l.lane).has_value());
    REQUIRE(l.verify().whole());
    const u64 kept = l.read_all();
    u64 published = 0;
    for (const u64 more : {u64{5}, u64{5}, u64{1000}}) {
      const auto w = open_log(l.options);
      append_all(*w, 5000 + published, 5000 + published + more);
      REQUIRE(w->flush(std::chrono::seconds(60)).has_value());
      published += more;
      CHECK(l.read_all() == kept + published);
    }
    CHECK(l.verify().whole());
  }
}

TEST_CASE("a repair of a lane that is whole changes nothing") {
  const resting_lane l;
  const auto bytes = [&] {
    std::string all;
    for (const u64 number : l.numbers) {
      std::ifstream file(l.path(number), std::ios::binary);
      all.append(std::istreambuf_iterator<char>(file), {});
    }
    return all;
  };
  const std::string before = bytes();
  const auto repaired = repair_lane(l.lane);
  REQUIRE(repaired.has_value());
  CHECK(repaired->cut.empty());
  CHECK(repaired->mended.empty());
  CHECK(repaired->bytes_cut == 0);
  CHECK(bytes() == before);
  append_all(*open_log(l.options), 5000, 5010);
  CHECK(l.read_all() == count + 10);
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
    CHECK(v.faults.front().words.find(words) != std::string::npos);
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
    REQUIRE(::pwrite(file.get(), "\x03", 1, 8) == 1);
  }
  check("made by a version of another layout (3", errc::newer_version);
  restore();
  std::filesystem::copy_file(l.path(l.numbers[0]), path, std::filesystem::copy_options::overwrite_existing);
  check("is segment 1 under another name", errc::corrupt);
  // Repaired, it gives up this segment and no other.
  REQUIRE(repair_lane(l.lane).has_value());
  CHECK(std::filesystem::exists(path + ".cut"));
  CHECK(!std::filesystem::exists(path));
  CHECK(l.verify().whole());
  CHECK(l.read_all() + l.verify().missing == count);
}

TEST_CASE("a segment that is gone is named, and after a repair publishers go on") {
  const resting_lane l;
  const u64 number = l.numbers[l.numbers.size() / 2];
  std::filesystem::remove(l.path(number));
  const auto v = l.verify();
  REQUIRE(!v.whole());
  CHECK(v.faults.front().words.find("segment " + std::to_string(number) + " is missing") != std::string::npos);
  CHECK(log_writer::open(l.options).error() == errc::corrupt);
  // Readers step over it and say how many messages are missing; a repair lets publishers go on, too.
  take_status end = take_status::message;
  const u64 rest = l.read_all(&end);
  CHECK(end == take_status::nothing);
  REQUIRE(repair_lane(l.lane).has_value());
  CHECK(l.verify().whole());
  CHECK(l.verify().missing == count - rest);
  append_all(*open_log(l.options), 5000, 5010);
  CHECK(l.read_all(&end) == rest + 10);
}

TEST_CASE("a lane's file that is foreign, cut short, of another lane, or gone, is named, and made anew by a repair") {
  const std::pair<const char*, std::function<void(const std::string&)>> harms[] = {
      {"cut short: 10 bytes", [](const std::string& path) { std::filesystem::resize_file(path, 10); }},
      {"not a lane of quoit",
       [](const std::string& path) {
         std::ofstream(path, std::ios::binary | std::ios::in).write("somebody else's", 15);
       }},
      {"the check of its id is wrong", [](const std::string& path) { flip(path, 70, 2); }},
      {"is missing", [](const std::string& path) { std::filesystem::remove(path); }},
      {"is the file of another lane",
       [](const std::string& path) {
         const scratch_directory other;
         const auto options = small_log(other);
         open_log(options);
         std::filesystem::copy_file(lane_directory(other.path(), options.topic, "0") + "/lane", path,
                                    std::filesystem::copy_options::overwrite_existing);
       }},
  };
  for (const auto& [words, harm] : harms) {
    INFO(words);
    const resting_lane l;
    harm(l.lane + "/lane");
    const auto w = log_writer::open(l.options);
    REQUIRE(!w.has_value());
    CHECK(w.error() == errc::corrupt);
    CHECK(l.read_all() == 0);
    const auto v = l.verify();
    REQUIRE(v.faults.size() == 1);
    CHECK(v.faults.front().words.find(words) != std::string::npos);
    CHECK(v.messages == count);
    const auto rehearsed = repair_lane(l.lane, true);
    REQUIRE(rehearsed.has_value());
    CHECK(!l.verify().whole());
    const auto repaired = repair_lane(l.lane);
    REQUIRE(repaired.has_value());
    CHECK(repaired->mended == rehearsed->mended);
    CHECK(repaired->mended.front().find(words) != std::string::npos);
    CHECK(repaired->cuts.empty());
    CHECK(l.verify().whole());
    CHECK(l.read_all() == count);
    append_all(*open_log(l.options), 5000, 5010);
    CHECK(l.read_all() == count + 10);
  }
  const resting_lane l;
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
