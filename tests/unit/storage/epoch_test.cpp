// No sequence is used twice: what a publisher may have used before a power failure, a repair or a copy is passed over.
#include <cerrno>
#include <filesystem>
#include <limits>
#include <random>
#include <set>

#include "storage/kept_reader.hpp"
#include "storage/log_check.hpp"
#include "storage/subscription_file.hpp"
#include "support/fake_clock.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;
using quoit::cursor;
using quoit::errc;
using quoit::start;
namespace fs = std::filesystem;

namespace {

std::string lane_of(const log_writer_options& o) { return lane_directory(o.directory, o.topic, o.name); }

void copy(const std::string& from, const std::string& to) { fs::copy(from, to, fs::copy_options::recursive); }

// It is killed: neither its end nor anything else that it does when it goes is recorded.
void publish_and_die(const log_writer_options& o, u64 begin, u64 end) {
  append_all(*open_log(o), begin, end);
  const auto lane = open_lane_to_write(o.directory, o.topic, o.name);
  forget_end(lane->header());
}

std::vector<u64> sequences_of(log_reader& r) {
  std::vector<u64> all;
  lane_frame frame;
  while (r.take(frame) == take_status::message) {
    all.push_back(frame.sequence);
    r.release(frame);
  }
  return all;
}

}  // namespace

TEST_CASE("a named subscription that outlived the end of its lane receives everything that is published behind it") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  publish_and_die(options, 0, 600);
  {
    const auto f = subscription_file::open(directory.path(), options.topic, "audit").value();
    const auto r = kept_reader::open(directory.path(), options.topic, std::nullopt, 4, start::earliest, true).value();
    REQUIRE(f->begin(*r).has_value());
    lane_frame frame;
    kept_lane* lane = nullptr;
    for (u64 n = 0; n < 600; ++n) {
      REQUIRE(r->take(frame, lane) == take_status::message);
      r->release(*lane, frame);
    }
    REQUIRE(f->commit(*r).has_value());
  }
  lose_end(options, 100);
  restart_machine(lane_of(options));
  {
    const auto w = open_log(options);
    CHECK(w->report().sequences_skipped > 500);
    CHECK(w->appender().next_sequence() >= 600);
    append_all(*w, 1000, 1500);
  }
  const auto f = subscription_file::open(directory.path(), options.topic, "audit").value();
  REQUIRE(f->found());
  const auto r =
      kept_reader::open(directory.path(), options.topic, std::nullopt, 4, start::at(*f->found()), true).value();
  REQUIRE(f->begin(*r).has_value());
  lane_frame frame;
  kept_lane* lane = nullptr;
  for (u64 n = 1000; n < 1500; ++n) {
    REQUIRE(r->take(frame, lane) == take_status::message);
    CHECK(is_message(frame.payload, frame.payload_bytes, n));
    r->release(*lane, frame);
  }
  CHECK(r->take(frame, lane) == take_status::nothing);
  CHECK(r->lost_total() == 0);
  CHECK(verify_lane(lane_of(options)).value().whole());
}

TEST_CASE("a lane that its publisher left goes on with the next sequence, in the next boot too") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  {
    append_all(*open_log(options), 0, 500);
  }
  {
    const auto w = open_log(options);
    CHECK(w->appender().next_sequence() == 500);
    append_all(*w, 500, 800);
  }
  restart_machine(lane_of(options));
  CHECK(verify_lane(lane_of(options)).value().whole());
  {
    const auto w = open_log(options);
    CHECK(w->appender().next_sequence() == 800);
    CHECK(w->report().sequences_skipped == 0);
    append_all(*w, 800, 1000);
  }
  CHECK(read_on(*read_from_begin(options), 0) == 1000);
  CHECK(verify_lane(lane_of(options)).value().skipped == 0);
}

TEST_CASE(
    "a publisher that was killed is followed by the next sequence in this boot, and by an epoch in the next one") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  publish_and_die(options, 0, 500);
  publish_and_die(options, 500, 600);
  CHECK(sequences_of(*read_from_begin(options)).back() == 599);
  restart_machine(lane_of(options));
  u64 began = 0;
  {
    const auto w = open_log(options);
    began = w->appender().next_sequence();
    CHECK(began > 600);
    append_all(*w, 600, 700);
  }
  const auto sequences = sequences_of(*read_from_begin(options));
  REQUIRE(sequences.size() == 700);
  CHECK(sequences[599] == 599);
  CHECK(sequences[600] == began);
  CHECK(read_on(*read_from_begin(options), 0) == 700);
  const auto v = verify_lane(lane_of(options)).value();
  CHECK(v.whole());
  CHECK(v.messages == 700);
  CHECK(v.missing == 0);
  CHECK(v.skipped == began - 600);
}

TEST_CASE("an epoch begins behind every sequence that was used, whatever the clock says") {
  const scratch_directory directory;
  auto options = small_log(directory);
  const fake_clock time;
  options.calls.clocks = fake_clock::source();
  options.sequences_reserved = 10;
  u64 used = 0;
  u64 n = 0;
  // Forward, far ahead, back, none at all, out of all bounds.
  for (const u64 clock : {u64{1'700'000'000'000'000'000}, u64{4'070'908'800'000'000'000},
                          u64{1'700'000'000'000'000'000}, u64{0}, u64{9'000'000'000'000'000'000}}) {
    fake_clock::set(clock);
    publish_and_die(options, n, n + 3000);
    n += 3000;
    const auto sequences = sequences_of(*read_from_begin(options));
    CHECK(std::set<u64>(sequences.begin(), sequences.end()).size() == sequences.size());
    REQUIRE(sequences.back() >= used);
    used = sequences.back() + 1;
    lose_end(options, sequences[sequences.size() - 500]);
    n -= 500;
    restart_machine(lane_of(options));
  }
  const auto w = open_log(options);
  CHECK(w->appender().next_sequence() >= used);
  CHECK(w->appender().next_sequence() < used + (u64{1} << 40));
}

TEST_CASE("a copy begins an epoch, once, and a cursor of the other one is behind it") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  {
    append_all(*open_log(options), 0, 500);
  }
  const scratch_directory backup;
  copy(directory.path(), backup.path() + "/topics");
  // The original goes on, and is lost.
  {
    append_all(*open_log(options), 500, 900);
  }
  const cursor place = cursor::parse("0@" +
                                     [&] {
                                       const auto lane =
                                           open_lane_to_read(options.directory, options.topic, options.name).value();
                                       char digits[20];
                                       std::snprintf(digits, sizeof digits, "%016llx",
                                                     static_cast<unsigned long long>(lane.header().lane_id[0]));
                                       return std::string(digits);
                                     }() +
                                     ":900")
                           .value();
  auto restored = options;
  restored.directory = backup.path() + "/topics";
  u64 next = 0;
  {
    const auto w = open_log(restored);
    CHECK(w->appender().next_sequence() > 900);
    append_all(*w, 2000, 2100);
    next = w->appender().next_sequence();
  }
  {
    const auto w = open_log(restored);
    CHECK(w->appender().next_sequence() == next);
    append_all(*w, 2100, 2200);
  }
  const auto r = kept_reader::open(restored.directory, options.topic, std::nullopt, 4, start::at(place)).value();
  lane_frame frame;
  kept_lane* lane = nullptr;
  for (u64 n = 2000; n < 2200; ++n) {
    REQUIRE(r->take(frame, lane) == take_status::message);
    CHECK(is_message(frame.payload, frame.payload_bytes, n));
    r->release(*lane, frame);
  }
  CHECK(r->lost_total() == 0);
}

TEST_CASE("copies of one backup that go on at different times use different sequences") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  {
    append_all(*open_log(options), 0, 500);
  }
  std::set<u64> all;
  for (int i = 0; i < 5; ++i) {
    const scratch_directory again;
    copy(directory.path(), again.path() + "/topics");
    auto restored = options;
    restored.directory = again.path() + "/topics";
    {
      append_all(*open_log(restored), 500, 600);
    }
    const auto sequences = sequences_of(*read_from_begin(restored));
    for (std::size_t at = 500; at < sequences.size(); ++at) CHECK(all.insert(sequences[at]).second);
    ::usleep(1000);
  }
  CHECK(all.size() == 500);
}

TEST_CASE(
    "readers find their places in a lane with several epochs, and are not told that what was passed over is lost") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  std::vector<u64> begins;
  for (u64 n = 0; n < 900; n += 300) {
    if (n > 0) restart_machine(lane_of(options));
    publish_and_die(options, n, n + 300);
    begins.push_back(sequences_of(*read_from_begin(options))[n]);
  }
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == 900);
  CHECK(r->lost_total() == 0);
  for (u64 back = 1; back <= 900; back += 37) {
    REQUIRE(r->start_with_last(back).has_value());
    CHECK(read_on(*r, 900 - back) == 900);
  }
  for (u64 epoch = 0; epoch < 3; ++epoch) {
    for (const u64 in : {u64{0}, u64{5}, u64{299}}) {
      REQUIRE(r->start_at_sequence(begins[epoch] + in).has_value());
      CHECK(read_on(*r, epoch * 300 + in) == 900);
    }
    // Between two epochs: behind what may be lost.
    REQUIRE(r->start_at_sequence(begins[epoch] + 300).has_value());
    CHECK(read_on(*r, (epoch + 1) * 300) == 900);
    REQUIRE(r->start_at_sequence(begins[epoch] + 100'000).has_value());
    CHECK(read_on(*r, (epoch + 1) * 300) == 900);
  }
  CHECK(r->lost_total() == 0);
  r.reset();

  // The first two epochs are removed: what a reader misses are messages.
  const auto numbers = begun_segments(lane_of(options));
  u64 oldest = 0;
  for (const u64 number : numbers) {
    segment_start begin{};
    REQUIRE(open_segment(lane_of(options), number, access::read).value()->read_start(begin));
    oldest = begin.sequence;
    if (begin.sequence > begins[2]) break;
    REQUIRE(remove_segment(lane_of(options), number).has_value());
  }
  const u64 removed = 600 + (oldest - begins[2]);
  auto late = open_reader(options);
  lane_frame frame;
  for (const auto& [sequence, lost] : std::vector<std::pair<u64, u64>>{
           {0, removed}, {100, removed - 100}, {begins[2], removed - 600}, {begins[2] + 7, removed - 607}}) {
    INFO("from " << sequence);
    REQUIRE(late->start_at_sequence(sequence).has_value());
    REQUIRE(late->take(frame) == take_status::lagged);
    CHECK(late->lost() == lost);
    CHECK(read_on(*late, removed) == 900);
  }
}

TEST_CASE("a repair that cuts the end of a lane leaves no sequence behind that is used again") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  {
    append_all(*open_log(options), 0, 1000);
  }
  const std::string lane = lane_of(options);
  auto live = read_from_begin(options);
  CHECK(read_on(*live, 0) == 1000);
  SUBCASE("a bad message") {
    const auto segment = open_segment(lane, begun_segments(lane).back(), access::read_write).value();
    segment->data()[2000] ^= std::byte{4};
  }
  SUBCASE("the last segment is gone") { fs::remove(lane + "/" + segment_name(begun_segments(lane).back())); }
  SUBCASE("the lane's file is gone") { fs::remove(lane + "/lane"); }
  REQUIRE(!verify_lane(lane).value().whole());
  REQUIRE(repair_lane(lane).has_value());
  CHECK(verify_lane(lane).value().whole());
  {
    const auto w = open_log(options);
    CHECK(w->appender().next_sequence() >= 1000);
    append_all(*w, 5000, 5100);
  }
  CHECK(verify_lane(lane).value().whole());
  // A reader that had everything receives what is new, whether it comes again or was there all the time.
  auto late = open_reader(options);
  REQUIRE(late->start_at_sequence(1000).has_value());
  CHECK(read_on(*late, 5000) == 5100);
  CHECK(late->lost_total() == 0);
  live->look_at_writer();
  CHECK(read_on(*live, 5000) == 5100);
  CHECK(live->lost_total() == 0);
}

namespace {

std::string lane_path;
bool lane_sync_fails = false;
u64 limit_on_disk = 0;

int watch_lane(int file) noexcept {
  struct stat synced{};
  struct stat lane{};
  if (::fstat(file, &synced) != 0 || ::stat(lane_path.c_str(), &lane) != 0) return -1;
  if (synced.st_ino != lane.st_ino) return ::fdatasync(file);
  if (lane_sync_fails) {
    errno = EIO;
    return -1;
  }
  log_lane_header header{};
  if (::pread(file, &header, sizeof header, 0) != sizeof header) return -1;
  limit_on_disk = known_limit(header);
  return 0;
}

}  // namespace

TEST_CASE("a sequence is used once a limit above it is on the disk, and not before") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.sequences_reserved = 1;
  options.own_thread = false;
  options.calls.synchronize = watch_lane;
  lane_path = lane_of(options) + "/lane";
  lane_sync_fails = false;
  auto w = open_log(options);
  const auto work = [&] {
    while (w->keeper().work()) {
    }
  };
  u64 n = 0;
  const auto publish_until_refused = [&] {
    for (;; ++n) {
      lane_claim claim;
      // Small ones, so that many fit into a segment.
      const append_status status = w->appender().claim(0, claim);
      if (status != append_status::ok) return status;
      w->appender().commit(claim, 0);
      REQUIRE(claim.sequence < limit_on_disk);
    }
  };
  for (int turn = 0; turn < 20; ++turn) {
    work();
    CHECK(publish_until_refused() == append_status::not_ready);
  }
  lane_sync_fails = true;
  work();
  CHECK(publish_until_refused() == append_status::no_space);
  CHECK(w->keeper().supply_failure() == errc::system);
  CHECK(w->keeper().supply_failure().words().find("/lane") != std::string_view::npos);
  lane_sync_fails = false;
  while (w->keeper().spares() == 0) {
    w->keeper().wait_for_work();
    w->keeper().work();
  }
  CHECK(publish_until_refused() == append_status::not_ready);
  w.reset();
  lane_sync_fails = true;
  const auto refused = log_writer::open(options);
  REQUIRE(!refused.has_value());
  CHECK(refused.error() == errc::system);
  lane_sync_fails = false;
  CHECK(open_log(options)->appender().next_sequence() == n);
}

TEST_CASE("whatever stands in the records of a lane's file, no sequence that is there is used again") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  std::mt19937_64 random(3);
  u64 n = 0;
  for (int turn = 0; turn < 30; ++turn) {
    publish_and_die(options, n, n + 20);
    n += 20;
    {
      const auto lane = open_lane_to_write(options.directory, options.topic, options.name).value();
      auto* const bytes = reinterpret_cast<std::byte*>(&lane.header());
      // Behind the id, and not the pid, which is for people.
      for (int flips = 0; flips < 3; ++flips) {
        bytes[136 + random() % (sizeof(log_lane_header) - 136)] ^= std::byte{1} << (random() % 8);
      }
      // Valid, and beyond all bounds.
      if (turn % 5 == 0) note_limit(lane.header(), ~u64{0});
    }
    if (!log_writer::open(options)) REQUIRE(repair_lane(lane_of(options)).has_value());
    CHECK(verify_lane(lane_of(options)).value().whole());
    const auto sequences = sequences_of(*read_from_begin(options));
    CHECK(std::set<u64>(sequences.begin(), sequences.end()).size() == n);
    CHECK(std::is_sorted(sequences.begin(), sequences.end()));
  }
}

TEST_CASE("a segment of another type is refused in the next boot too") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.kind.type_name = "quote";
  {
    append_all(*open_log(options), 0, 10);
  }
  restart_machine(lane_of(options));
  auto other = options;
  other.kind.type_name = "trade";
  const auto refused = log_writer::open(other);
  REQUIRE(!refused.has_value());
  CHECK(refused.error() == errc::type_mismatch);
  CHECK(open_log(options)->appender().next_sequence() >= 10);
}
