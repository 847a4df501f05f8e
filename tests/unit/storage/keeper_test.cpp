// Writing back, a full disk, a disk that fails, retention, and who may have a lane.
#include <atomic>
#include <cerrno>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "storage/log_check.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

std::atomic<bool> disk_full = false;
std::atomic<int> sync_errors = 0;  // so many of the next ones fail
std::atomic<u64> syncs = 0;

int allocate(int file, off_t bytes) noexcept {
  if (!disk_full) return ::fallocate(file, 0, 0, bytes);
  errno = ENOSPC;
  return -1;
}
int synchronize(int file) noexcept {
  ++syncs;
  if (sync_errors > 0) {
    --sync_errors;
    errno = EIO;
    return -1;
  }
  return ::fdatasync(file);
}

log_writer_options faulty_log(const scratch_directory& directory, log_durability durability) {
  disk_full = false;
  sync_errors = 0;
  syncs = 0;
  auto o = small_log(directory);
  o.durability = durability;
  o.calls = {allocate, synchronize};
  return o;
}

}  // namespace

TEST_CASE("what a flush has acknowledged is before the durable position") {
  // Written back by this thread, or by the helper's, which can be waited for no longer than asked.
  for (const auto timeout : {60s, 9s}) {
    const scratch_directory directory;
    const auto options = faulty_log(directory, log_durability::each);
    auto w = open_log(options);
    append_all(*w, 0, 1000);
    REQUIRE(w->flush(timeout).has_value());
    CHECK(w->keeper().durable_position() == w->appender().frontier());
    auto r = read_from_begin(options);
    CHECK(r->durable_position() == w->appender().frontier());
    CHECK(w->flush(timeout).has_value());  // nothing new
  }
}

TEST_CASE("who waits for ever writes back itself, beside whatever the helper does") {
  const scratch_directory directory;
  auto w = open_log(faulty_log(directory, log_durability::each));
  u64 n = 0;
  for (int i = 0; i < 50; ++i) {
    append_all(*w, n, n + 10);
    n += 10;
    const u64 position = w->appender().frontier();
    w->keeper().write_back_here(position);
    REQUIRE(w->keeper().status_of(0, position) == flush_status::durable);
  }
}

TEST_CASE("nothing that is asked for is lost while the helper looks at what there is") {
  const scratch_directory directory;
  auto options = faulty_log(directory, log_durability::each);
  options.own_thread = false;
  options.calls.synchronize = [](int) noexcept { return 0; };
  auto w = open_log(options);
  std::atomic<bool> over = false;
  std::thread helper([&] {
    while (!over) w->keeper().work();
  });
  flush_status status = flush_status::durable;
  for (u64 n = 0; n < 100'000 && status == flush_status::durable; ++n) {
    if (append(*w, n, 8) != append_status::ok) break;
    const u64 position = w->appender().frontier();
    w->keeper().request(position);
    status = w->keeper().wait(0, position, 10s);
  }
  over = true;
  helper.join();
  CHECK(status == flush_status::durable);
}

TEST_CASE("one call writes back what many flushes ask for") {
  const scratch_directory directory;
  auto options = faulty_log(directory, log_durability::each);
  options.own_thread = false;
  auto w = open_log(options);
  while (w->keeper().work()) {
  }
  const u64 before = syncs;
  for (u64 n = 0; n < 50; ++n) {
    append_all(*w, n, n + 1);
    w->keeper().request(w->appender().frontier());
  }
  CHECK(w->keeper().status_of(0, w->appender().frontier()) == flush_status::pending);
  while (w->keeper().work()) {
  }
  CHECK(w->keeper().status_of(0, w->appender().frontier()) == flush_status::durable);
  CHECK(syncs - before == 1);
}

TEST_CASE("with an interval, messages become durable without being asked for") {
  const scratch_directory directory;
  auto options = faulty_log(directory, log_durability::interval);
  options.interval = 1ms;
  auto w = open_log(options);
  append_all(*w, 0, 100);
  CHECK(w->keeper().wait(0, w->appender().frontier(), 60s) == flush_status::durable);
}

TEST_CASE("without durability nothing is written back until a flush asks, and then everything, also what was passed") {
  for (const auto timeout : {60s, 9s}) {
    const scratch_directory directory;
    const auto options = faulty_log(directory, log_durability::os);
    auto w = open_log(options);
    // The lane's own file, so that no sequence is used twice.
    CHECK(syncs == 1);
    syncs = 0;
    append_all(*w, 0, 2000);
    REQUIRE(list_segments(w->directory()).size() > 3);
    CHECK(syncs == 0);
    REQUIRE(w->flush(timeout).has_value());
    CHECK(w->keeper().durable_position() == w->appender().frontier());
    const u64 passed = w->keeper().current().number - list_segments(w->directory()).front();
    CHECK(syncs == passed + 1);
    append_all(*w, 2000, 2010);
    REQUIRE(w->flush(timeout).has_value());
    // What was written back is not asked for again.
    CHECK(syncs == passed + 2 + (w->keeper().current().number - list_segments(w->directory()).front() - passed));
    CHECK(open_reader(options)->durable_position() == w->appender().frontier());
  }
}

TEST_CASE("without durability a segment that was passed and can not be written back fails the flush, and is marked") {
  const scratch_directory directory;
  const auto options = faulty_log(directory, log_durability::os);
  auto w = open_log(options);
  append_all(*w, 0, 2000);
  sync_errors = 1;
  const auto failed = w->flush(60s);
  REQUIRE_FALSE(failed);
  CHECK(failed.error() == errc::system);
  CHECK(failed.error().words().find("000000000001.seg") != std::string_view::npos);
  segment_start start{};
  REQUIRE(open_segment(w->directory(), 2, access::read).value()->read_start(start));
  CHECK(start.after_failure == segment_failure_mark);
  REQUIRE(open_segment(w->directory(), 3, access::read).value()->read_start(start));
  CHECK(start.after_failure == 0);
  append_all(*w, 2000, 2010);
  CHECK(w->flush(60s).has_value());
}

TEST_CASE("a full disk refuses a loan, harms nothing, and publishing goes on when there is room") {
  const scratch_directory directory;
  const auto options = faulty_log(directory, log_durability::os);
  auto w = open_log(options);
  disk_full = true;
  u64 n = 0;
  append_status status = append_status::ok;
  while ((status = append(*w, n)) == append_status::ok) ++n;
  CHECK(status == append_status::no_space);
  CHECK(append(*w, n) == append_status::no_space);
  CHECK(w->keeper().supply_failure() == errc::no_space);
  CHECK(w->keeper().supply_failure().words().find("bytes are free") != std::string_view::npos);
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == n);
  disk_full = false;
  while ((status = append(*w, n)) == append_status::no_space) ::usleep(1000);
  CHECK(status == append_status::ok);
  append_all(*w, n + 1, n + 500);
  CHECK(read_on(*r, n) == n + 500);
  CHECK(begun_segments(w->directory()).size() > 2);
}

TEST_CASE("a segment that could not be written back is left, reported, and never synced again") {
  const scratch_directory directory;
  auto options = faulty_log(directory, log_durability::each);
  options.own_thread = false;
  auto w = open_log(options);
  const auto work = [&] {
    while (w->keeper().work()) {
    }
  };
  work();
  append_all(*w, 0, 10);
  sync_errors = 1;
  const u64 lost_end = w->appender().frontier();
  const auto failed = w->flush(60s);
  REQUIRE(!failed);
  CHECK(failed.error() == errc::system);
  CHECK(failed.error().system_errno() == EIO);
  // A second try would succeed and prove nothing.
  w->keeper().request(lost_end);
  work();
  CHECK(w->keeper().status_of(0, lost_end) == flush_status::failed);

  append_all(*w, 10, 20);
  CHECK(w->flush(60s).has_value());
  CHECK(w->keeper().status_of(0, lost_end) == flush_status::failed);
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == 20);
  segment_start start{};
  REQUIRE(open_segment(w->directory(), 2, access::read).value()->read_start(start));
  CHECK(start.after_failure == segment_failure_mark);
  CHECK(start.sequence == 10);
}

TEST_CASE("a segment that could not be written back is left by the next publisher too, and never synced again") {
  for (const bool at_opening : {false, true}) {
    CAPTURE(at_opening);
    const scratch_directory directory;
    auto options = faulty_log(directory, at_opening ? log_durability::os : log_durability::each);
    options.own_thread = false;
    {
      auto w = open_log(options);
      append_all(*w, 0, 10);
      if (!at_opening) {
        sync_errors = 1;
        CHECK_FALSE(w->flush(1s));
      }
    }
    options.durability = log_durability::each;
    if (at_opening) {
      sync_errors = 1;
      const auto refused = log_writer::open(options);
      REQUIRE_FALSE(refused);
      CHECK(refused.error() == errc::system);
      CHECK(refused.error().words().find("000000000001.seg") != std::string_view::npos);
    }
    auto w = open_log(options);
    segment_start start{};
    REQUIRE(open_segment(w->directory(), 2, access::read).value()->read_start(start));
    CHECK(start.after_failure == segment_failure_mark);
    CHECK(start.sequence == 10);
    append_all(*w, 10, 20);
    CHECK(w->flush(60s).has_value());
    CHECK(read_on(*read_from_begin(options), 0) == 20);
  }
}

TEST_CASE("behind a passed segment that could not be written back the rest is, at once") {
  const scratch_directory directory;
  auto options = faulty_log(directory, log_durability::each);
  options.own_thread = false;
  auto w = open_log(options);
  u64 n = 0;
  while (w->keeper().current().number < 3) {
    while (w->keeper().work()) {
    }
    append_all(*w, n, n + 10);
    n += 10;
  }
  while (w->keeper().work()) {
  }
  const u64 position = w->appender().frontier();
  sync_errors = 1;
  w->keeper().write_back_here(position);
  CHECK(w->keeper().status_of(0, position) == flush_status::failed);
  CHECK(w->keeper().status_of(w->appender().geometry().data_bytes, position) == flush_status::durable);
  segment_start start{};
  REQUIRE(open_segment(w->directory(), 2, access::read).value()->read_start(start));
  CHECK(start.after_failure == segment_failure_mark);
  REQUIRE(open_segment(w->directory(), 3, access::read).value()->read_start(start));
  CHECK(start.after_failure == 0);
}

TEST_CASE("what is durable behind a failed segment is kept when that segment turns out to be torn") {
  const scratch_directory directory;
  auto options = faulty_log(directory, log_durability::each);
  options.own_thread = false;
  std::string lane;
  {
    auto w = open_log(options);
    while (w->keeper().work()) {
    }
    append_all(*w, 0, 10);
    sync_errors = 1;
    CHECK(!w->flush(60s));
    while (w->keeper().work()) {
    }
    append_all(*w, 10, 20);
    CHECK(w->flush(60s).has_value());
    lane = w->directory();
  }
  // The power fails: message 5 and what follows in the failed segment is not there. A copy is not believed.
  const scratch_directory copy;
  std::filesystem::copy(directory.path(), copy.path(), std::filesystem::copy_options::recursive);
  options.directory = copy.path();
  {
    auto r = read_from_begin(options);
    for (u64 n = 0; n < 5; ++n) CHECK(next_number(*r) == n);
    const auto segment = open_segment(lane_directory(copy.path(), options.topic, "0"), 1, access::read_write).value();
    std::memset(segment->data() + r->position(), 0, 300);
    lane_frame frame;
    CHECK(r->take(frame) == take_status::lagged);
    CHECK(r->lost() == 5);
    CHECK(read_on(*r, 10) == 20);
  }
  auto w = open_log(options);
  CHECK(w->report().segments_cut == 0);
  append_all(*w, 20, 30);
  auto r = read_from_begin(options);
  for (u64 n = 0; n < 5; ++n) CHECK(next_number(*r) == n);
  lane_frame frame;
  CHECK(r->take(frame) == take_status::lagged);
  CHECK(read_on(*r, 10) == 30);
}

TEST_CASE("retention keeps the bytes that were asked for, whole segments, and a late reader is told what it missed") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.retention.bytes = 4 * segment_bytes_min;
  auto w = open_log(options);
  append_all(*w, 0, 100);
  auto late = read_from_begin(options);
  CHECK(next_number(*late) == 0);
  auto later = open_reader(options);
  append_all(*w, 100, 3000);
  // The reader's own segment stays, and so do those behind it.
  CHECK(list_segments(w->directory()).front() == 1);
  CHECK(read_on(*late, 1) == 3000);
  append_all(*w, 3000, 6000);
  late.reset();
  append_all(*w, 6000, 7000);
  // The helper removes one after the other.
  while (begun_segments(w->directory()).size() > 4) ::usleep(1000);
  CHECK(list_segments(w->directory()).front() > 1);
  REQUIRE(later->start_at_sequence(10).has_value());
  lane_frame frame;
  REQUIRE(later->take(frame) == take_status::lagged);
  const u64 first = 10 + later->lost();
  CHECK(read_on(*later, first) == 7000);
}

TEST_CASE("a reader that is overtaken by retention goes on at the oldest message with the exact count") {
  const scratch_directory directory;
  auto options = small_log(directory);
  auto w = open_log(options);
  append_all(*w, 0, 3000);
  auto r = read_from_begin(options);
  CHECK(next_number(*r) == 0);
  const auto numbers = begun_segments(w->directory());
  // As retention would, but for the segment that is being read.
  for (std::size_t i = 1; i < numbers.size() / 2; ++i) REQUIRE(remove_segment(w->directory(), numbers[i]).has_value());
  CHECK(remove_segment(w->directory(), 1).error() == errc::busy);
  u64 n = 1;
  lane_frame frame;
  take_status status = take_status::message;
  while ((status = r->take(frame)) == take_status::message) {
    CHECK(is_message(frame.payload, frame.payload_bytes, n++));
    r->release(frame);
  }
  REQUIRE(status == take_status::lagged);
  CHECK(read_on(*r, n + r->lost()) == 3000);
  CHECK(r->lost_total() == r->lost());
}

TEST_CASE("a lane can have more segments than a process may have open, also when each is verified") {
  const scratch_directory directory;
  auto options = small_log(directory);
  {
    append_all(*open_log(options), 0, 15'000);
  }
  const scratch_directory copy;
  std::filesystem::copy(directory.path(), copy.path(), std::filesystem::copy_options::recursive);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit few{40, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  for (const std::string& path : {directory.path(), copy.path()}) {
    options.directory = path;
    auto w = log_writer::open(options);
    INFO((w ? std::string() : w.error().message()));
    CHECK(w.has_value());
    auto r = read_from_begin(options);
    CHECK(read_on(*r, 0) == 15'000);
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(begun_segments(lane_directory(copy.path(), options.topic, "0")).size() > 45);
}

TEST_CASE("a durable position that is torn is not believed, and one behind the end of the lane says what is missing") {
  for (const bool torn : {true, false}) {
    const scratch_directory directory;
    auto options = faulty_log(directory, log_durability::os);
    options.own_thread = false;
    {
      append_all(*open_log(options), 0, 10);
    }
    const std::string path = lane_directory(options.directory, options.topic, options.name);
    {
      const auto lane = open_lane_to_write(options.directory, options.topic, options.name).value();
      log_lane_header& header = lane.header();
      header.durable_position = u64{1} << 40;
      header.durable_check = durable_check(header.durable_position, header.lane_id) + (torn ? 1 : 0);
    }
    if (!torn) {
      const auto refused = log_writer::open(options);
      REQUIRE(!refused.has_value());
      CHECK(refused.error() == errc::corrupt);
      CHECK(refused.error().words().find("on the disk up to position") != std::string_view::npos);
      CHECK(!verify_lane(path).value().whole());
      REQUIRE(repair_lane(path).has_value());
      CHECK(verify_lane(path).value().whole());
    }
    auto w = open_log(options);
    append_all(*w, 10, 20);
    const u64 before = syncs;
    CHECK(w->flush(60s).has_value());
    CHECK(syncs > before);
    CHECK(open_reader(options)->durable_position() == w->appender().frontier());
  }
}

TEST_CASE("a flush without durability writes back more segments than a process may have open") {
  const scratch_directory directory;
  const auto options = faulty_log(directory, log_durability::os);
  auto w = open_log(options);
  append_all(*w, 0, 40'000);
  REQUIRE(w->keeper().current().number > 100);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit few{80, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  const auto flushed = w->flush(60s);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  INFO((flushed ? std::string() : flushed.error().message()));
  CHECK(flushed.has_value());
  CHECK(syncs >= w->keeper().current().number);
}

TEST_CASE("where there is no thread to be had, the signals of who asked are as before") {
  const scratch_directory directory;
  const auto options = faulty_log(directory, log_durability::os);
  // In a child, which may make its stacks larger than memory.
  const pid_t child = ::fork();
  if (child == 0) {
    pthread_attr_t huge;
    ::pthread_attr_init(&huge);
    ::pthread_attr_setstacksize(&huge, std::size_t{1} << 50);
    ::pthread_setattr_default_np(&huge);
    bool refused = false;
    try {
      static_cast<void>(log_writer::open(options));
    } catch (const std::system_error&) {
      refused = true;
    }
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    ::_exit(!refused ? 2 : ::sigismember(&now, SIGTERM));
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("a lane has one publisher at a time, and the second is told which process has it") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  const auto second = log_writer::open(options);
  REQUIRE(!second);
  CHECK(second.error() == errc::busy);
  CHECK(second.error().words().find(std::to_string(::getpid())) != std::string_view::npos);
  CHECK(repair_lane(w->directory()).error() == errc::busy);
  auto other = options;
  other.name = "1";
  CHECK(log_writer::open(other).has_value());
  CHECK(list_lanes(open_topic_directory(options.directory, options.topic).value()) ==
        std::vector<std::string>{"0", "1"});
}

TEST_CASE("a lane goes on where its publisher left it, also with other sizes, and not with another type") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.kind.type_name = "quote";
  options.kind.type_bytes = 16;
  {
    append_all(*open_log(options), 0, 500);
  }
  {
    auto w = open_log(options);
    CHECK(w->report().cut.empty());
    append_all(*w, 500, 900);
  }
  options.kind.segment_bytes = 4 * segment_bytes_min;
  options.kind.alignment = 64;
  {
    append_all(*open_log(options), 900, 2000);
  }
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == 2000);
  CHECK(verify_lane(lane_directory(options.directory, options.topic, "0")).value().whole());
  options.kind.type_name = "trade";
  const auto other = log_writer::open(options);
  REQUIRE(!other);
  CHECK(other.error() == errc::type_mismatch);
  CHECK(other.error().words().find("the type is named quote, asked for named trade") != std::string_view::npos);
}
