// All lanes of a topic as one stream: their order, where it begins, and what happens to it when lanes come and go.
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "storage/kept_reader.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;
using quoit::cursor;
using quoit::errc;
using quoit::start;

namespace {

constexpr const char* topic_name = "market/quotes";

struct received {
  std::string lane;
  u64 number;
  u64 stamp;
};

struct kept_topic {
  log_writer_options options_of(const std::string& name) const {
    auto o = small_log(directory);
    o.name = name;
    return o;
  }
  std::unique_ptr<log_writer> writer(const std::string& name) const { return open_log(options_of(name)); }
  std::unique_ptr<kept_reader> reader(const start& from = start::earliest, bool remembers = false) const {
    auto r = kept_reader::open(directory.path(), topic_name, std::nullopt, 4, from, remembers);
    INFO((r ? std::string() : r.error().message()));
    REQUIRE(r.has_value());
    return std::move(*r);
  }

  scratch_directory directory;
};

std::optional<received> next(kept_reader& r) {
  lane_frame frame;
  kept_lane* lane = nullptr;
  const take_status status = r.take(frame, lane);
  if (status == take_status::nothing) return std::nullopt;
  REQUIRE(status == take_status::message);
  received got{lane->name, 0, frame.stamp};
  std::memcpy(&got.number, frame.payload, 8);
  CHECK(is_message(frame.payload, frame.payload_bytes, got.number));
  r.release(*lane, frame);
  return got;
}

std::vector<received> all(kept_reader& r) {
  std::vector<received> got;
  while (auto m = next(r)) got.push_back(std::move(*m));
  return got;
}

std::vector<u64> numbers(kept_reader& r) {
  std::vector<u64> got;
  while (const auto m = next(r)) got.push_back(m->number);
  return got;
}

// Later than what was published before by more than the clocks of two publishers differ: less than a microsecond.
void append_later(log_writer& w, u64 begin, u64 end) {
  ::usleep(5);
  append_all(w, begin, end);
}

std::vector<u64> range(u64 begin, u64 end) {
  std::vector<u64> n;
  for (; begin < end; ++begin) n.push_back(begin);
  return n;
}

}  // namespace

TEST_CASE("messages of several publishers come by time") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  const auto b = kept.writer("b");
  const auto c = kept.writer("c");
  // Published in turn, in runs and alone, through many segments.
  for (u64 n = 0; n < 3000; ++n) {
    log_writer& w = n % 7 == 0 ? *c : n / 10 % 2 == 0 ? *a : *b;
    append_later(w, n, n + 1);
  }
  const auto r = kept.reader();
  CHECK(r->lanes() == 3);
  CHECK(numbers(*r) == range(0, 3000));
  CHECK(!next(*r));
}

TEST_CASE("of messages of one time those of the first name come first") {
  const kept_topic kept;
  append_all(*kept.writer("b"), 0, 300);
  append_all(*kept.writer("a"), 0, 300);
  std::vector<u64> stamps;
  for (u64 n = 0; n < 300; ++n) stamps.push_back(1000 + n / 3);
  set_stamps(kept.options_of("a"), stamps);
  set_stamps(kept.options_of("b"), stamps);
  const auto got = all(*kept.reader());
  REQUIRE(got.size() == 600);
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(got[i].stamp == 1000 + i / 6);
    CHECK(got[i].lane == (i % 6 < 3 ? "a" : "b"));
  }
}

TEST_CASE("at the live end what is there comes by time, and a lane at its end holds nobody back") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  const auto b = kept.writer("b");
  append_later(*a, 0, 1);
  const auto r = kept.reader();
  CHECK(numbers(*r) == range(0, 1));
  for (u64 n = 1; n < 500; n += 5) {
    append_later(*b, n, n + 1);
    append_later(*a, n + 1, n + 2);
    append_later(*b, n + 2, n + 3);
    CHECK(r->ready());
    CHECK(numbers(*r) == range(n, n + 3));
    CHECK(!r->ready());
    append_later(*a, n + 3, n + 5);
    CHECK(numbers(*r) == range(n + 3, n + 5));
  }
}

TEST_CASE("a lane that was at its end has its turn as soon as it has something, however much the others have") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  const auto b = kept.writer("b");
  append_all(*b, 0, 3);
  const auto r = kept.reader();
  CHECK(next(*r)->number == 0);
  append_later(*a, 3, 4);
  append_later(*b, 4, 1000);
  append_later(*a, 1000, 1001);
  append_later(*b, 1001, 1500);
  CHECK(numbers(*r) == range(1, 1500));
}

TEST_CASE("a lane that comes later is read from its first message") {
  const kept_topic kept;
  const auto a = kept.writer("b");
  append_all(*a, 0, 10);
  const auto r = kept.reader(start::latest);
  CHECK(!next(*r));
  const auto b = kept.writer("a");
  append_all(*b, 10, 20);
  CHECK(!next(*r));
  r->look_for_lanes();
  CHECK(!r->lane_missing());
  append_later(*a, 20, 25);
  CHECK(numbers(*r) == range(10, 25));
}

TEST_CASE("a directory that is not a lane yet is looked at again") {
  const kept_topic kept;
  {
    const auto a = kept.writer("a");
    append_all(*a, 0, 1);
  }
  const std::string made = kept.directory.path() + "/market+quotes/young";
  std::filesystem::create_directory(made);
  const auto r = kept.reader();
  CHECK(r->lane_missing());
  CHECK(r->unsaid().empty());
  CHECK(numbers(*r) == range(0, 1));
  const auto young = kept.writer("young");
  append_all(*young, 1, 2);
  r->look_for_lanes();
  CHECK(!r->lane_missing());
  CHECK(numbers(*r) == range(1, 2));
}

TEST_CASE("a topic begins at the start that is asked for, in each lane") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  const auto b = kept.writer("b");
  for (u64 n = 0; n < 1000; ++n) append_later(n % 2 == 0 ? *a : *b, n, n + 1);
  const u64 middle = all(*kept.reader())[600].stamp;

  CHECK(numbers(*kept.reader(start::earliest)) == range(0, 1000));
  CHECK(numbers(*kept.reader(start::latest)).empty());
  CHECK(numbers(*kept.reader(start::last(10))) == range(980, 1000));
  CHECK(numbers(*kept.reader(start::sequence(450))) == range(900, 1000));
  const auto when = std::chrono::sys_time<std::chrono::nanoseconds>(std::chrono::nanoseconds(middle));
  const auto from_then = numbers(*kept.reader(start::time(when)));
  REQUIRE(!from_then.empty());
  CHECK(from_then.front() <= 600);
  CHECK(from_then == range(from_then.front(), 1000));

  const auto r = kept.reader();
  for (u64 n = 0; n < 333; ++n) CHECK(next(*r)->number == n);
  const cursor here = r->position();
  CHECK(numbers(*kept.reader(start::at(here))) == range(333, 1000));
  // Asked while something waits, as ready() makes it, it is the same.
  CHECK(r->ready());
  CHECK(r->position() == here);
  CHECK(numbers(*r) == range(333, 1000));
  REQUIRE(r->seek(start::at(here)).has_value());
  CHECK(numbers(*r) == range(333, 1000));
  REQUIRE(r->seek(start::earliest).has_value());
  CHECK(numbers(*r) == range(0, 1000));
}

TEST_CASE("a cursor counts for the lanes that it names, while they are the same") {
  const kept_topic kept;
  {
    const auto a = kept.writer("a");
    const auto b = kept.writer("b");
    append_all(*a, 0, 10);
    append_all(*b, 10, 20);
  }
  const auto only_a = cursor::parse("a:9").value();
  CHECK(numbers(*kept.reader(start::at(only_a))) == range(9, 20));
  auto behind = cursor::parse("a:9,b:1000").value();
  const auto r = kept.reader(start::at(behind));
  CHECK(numbers(*r) == range(9, 10));
  CHECK(r->position().find("b")->sequence == 10);

  const cursor all_read = r->position();
  std::filesystem::remove_all(kept.directory.path() + "/market+quotes/a");
  const auto anew = kept.writer("a");
  append_all(*anew, 30, 32);
  CHECK(numbers(*kept.reader(start::at(all_read))) == range(30, 32));
}

TEST_CASE("a lane that could not be opened at first goes on where the cursor says once it can") {
  const kept_topic kept;
  append_all(*kept.writer("a"), 0, 10);
  append_all(*kept.writer("b"), 10, 20);
  const auto here = cursor::parse("a:9,b:7").value();
  const std::string lane = kept.directory.path() + "/market+quotes/b";
  const std::string away = kept.directory.path() + "/market+quotes/.b";
  std::filesystem::rename(lane, away);
  const auto r = kept.reader(start::at(here));
  CHECK(numbers(*r) == range(9, 10));
  std::filesystem::rename(away, lane);
  r->look_for_lanes();
  CHECK(numbers(*r) == range(17, 20));

  std::filesystem::rename(lane, away);
  const auto later = kept.reader();
  REQUIRE(later->seek(start::at(here)).has_value());
  std::filesystem::rename(away, lane);
  later->look_for_lanes();
  CHECK(numbers(*later) == std::vector<u64>{9, 17, 18, 19});
}

TEST_CASE("a lane that is removed and made anew under a reader is another one of the same name") {
  const kept_topic kept;
  append_all(*kept.writer("a"), 0, 10);
  append_all(*kept.writer("b"), 10, 20);
  const auto r = kept.reader(start::earliest, true);
  CHECK(all(*r).size() == 20);
  const std::string lane = kept.directory.path() + "/market+quotes/a";
  std::filesystem::remove_all(lane);
  append_all(*kept.writer("a"), 30, 34);
  r->look_for_lanes();
  CHECK(r->lanes() == 3);
  CHECK(numbers(*r) == range(30, 34));
  CHECK(r->position().find("a")->sequence == 4);
  CHECK(r->done() == r->position());

  // As a repair does it: another file, and the same lane.
  std::filesystem::copy_file(lane + "/lane", lane + "/copy");
  std::filesystem::rename(lane + "/copy", lane + "/lane");
  r->look_for_lanes();
  CHECK(r->lanes() == 3);
  CHECK(!next(*r));
}

TEST_CASE("a topic whose directory cannot be read for want of descriptors is looked at again") {
  const kept_topic kept;
  append_all(*kept.writer("a"), 0, 10);
  const auto r = kept.reader();
  append_all(*kept.writer("b"), 10, 20);
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  r->look_for_lanes();
  const auto anew = kept_reader::open(kept.directory.path(), topic_name, std::nullopt, 4, start::latest);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(r->lane_missing());
  REQUIRE(!anew.has_value());
  CHECK(anew.error() == errc::limit_reached);
  r->look_for_lanes();
  CHECK(!r->lane_missing());
  CHECK(all(*r).size() == 20);
}

TEST_CASE("what is held is not done, whatever was given back behind it") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  append_all(*a, 0, 10);
  const auto r = kept.reader(start::earliest, true);
  lane_frame frames[3];
  kept_lane* lane = nullptr;
  for (lane_frame& frame : frames) REQUIRE(r->take(frame, lane) == take_status::message);
  r->release(*lane, frames[1]);
  CHECK(r->done().find("a")->sequence == 0);
  CHECK(r->position().find("a")->sequence == 3);
  r->release(*lane, frames[0]);
  CHECK(r->done().find("a")->sequence == 2);
  r->release(*lane, frames[2]);
  CHECK(r->done() == r->position());
}

TEST_CASE("as many messages are held as were asked for, of all lanes together") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  const auto b = kept.writer("b");
  for (u64 n = 0; n < 10; ++n) append_later(n % 2 == 0 ? *a : *b, n, n + 1);
  const auto r = kept.reader();
  lane_frame frames[5];
  kept_lane* lanes[5] = {};
  for (int i = 0; i < 4; ++i) REQUIRE(r->take(frames[i], lanes[i]) == take_status::message);
  CHECK(r->take(frames[4], lanes[4]) == take_status::too_many);
  r->release(*lanes[1], frames[1]);
  REQUIRE(r->take(frames[4], lanes[4]) == take_status::message);
  CHECK(is_message(frames[4].payload, frames[4].payload_bytes, 4));
  CHECK(is_message(frames[0].payload, frames[0].payload_bytes, 0));
}

TEST_CASE("a batch has what lies together before another lane is next") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  const auto b = kept.writer("b");
  append_later(*a, 0, 5);
  append_later(*b, 5, 6);
  append_later(*a, 6, 2000);
  const auto r = kept.reader();
  std::vector<u64> got;
  std::size_t batches = 0;
  lane_frame first;
  kept_lane* lane = nullptr;
  while (r->take(first, lane) == take_status::message) {
    ++batches;
    lane_frame frame = first;
    do {
      u64 n = 0;
      std::memcpy(&n, frame.payload, 8);
      CHECK(is_message(frame.payload, frame.payload_bytes, n));
      got.push_back(n);
    } while (r->take_more(*lane, first, frame));
    CHECK(r->held() == 1);
    r->release(*lane, first);
  }
  CHECK(got == range(0, 2000));
  // One for each of the three runs, and one for each further segment.
  CHECK(batches >= 3);
  CHECK(batches < 40);
}

TEST_CASE("a lane that is damaged is said once and left, and the others go on") {
  const kept_topic kept;
  {
    const auto a = kept.writer("a");
    const auto b = kept.writer("b");
    append_all(*a, 0, 100);
    append_all(*b, 100, 200);
  }
  {
    // The header of the lane's tenth message or so.
    std::fstream file(kept.directory.path() + "/market+quotes/a/000000000001.seg",
                      std::ios::in | std::ios::out | std::ios::binary);
    std::vector<char> bytes(1 << 16);
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    u64 offset = 0;
    std::memcpy(&offset, bytes.data() + 72, 8);
    file.seekp(static_cast<std::streamoff>(offset + 2000));
    const std::vector<char> garbage(4000, '\x03');
    file.write(garbage.data(), static_cast<std::streamsize>(garbage.size()));
  }
  const auto r = kept.reader();
  std::vector<u64> of_b;
  int corrupt = 0;
  for (;;) {
    lane_frame frame;
    kept_lane* lane = nullptr;
    const take_status status = r->take(frame, lane);
    if (status == take_status::nothing) break;
    if (status == take_status::corrupt) {
      ++corrupt;
      CHECK(lane->name == "a");
      CHECK(lane->reader->fault().find("/a/000000000001.seg at byte") != std::string::npos);
      continue;
    }
    REQUIRE(status == take_status::message);
    u64 n = 0;
    std::memcpy(&n, frame.payload, 8);
    if (lane->name == "b") of_b.push_back(n);
    r->release(*lane, frame);
  }
  CHECK(corrupt == 1);
  CHECK(of_b == range(100, 200));
}

TEST_CASE("a lane whose own file is garbage is named, and the others are read") {
  const kept_topic kept;
  {
    const auto a = kept.writer("a");
    const auto b = kept.writer("b");
    append_all(*a, 0, 3);
    append_all(*b, 3, 6);
  }
  std::ofstream(kept.directory.path() + "/market+quotes/a/lane", std::ios::binary) << std::string(4096, 'x');
  const auto r = kept.reader();
  REQUIRE(r->unsaid().size() == 1);
  CHECK(r->unsaid().front() == errc::corrupt);
  CHECK(r->unsaid().front().words().find("/a/lane") != std::string_view::npos);
  r->unsaid().clear();
  r->look_for_lanes();
  CHECK(r->unsaid().empty());
  CHECK(numbers(*r) == range(3, 6));
}

TEST_CASE("the type that is asked for is the one that the segments carry") {
  const kept_topic kept;
  auto options = kept.options_of("a");
  options.kind.type_name = "quote";
  options.kind.type_bytes = 16;
  options.kind.payload_bytes_max = 16;
  {
    const auto w = open_log(options);
    REQUIRE(append(*w, 0, 16) == append_status::ok);
  }
  const auto open_as = [&](kept_type type) {
    return kept_reader::open(kept.directory.path(), topic_name, std::move(type), 4, start::earliest);
  };
  CHECK(open_as({"quote", 16, 8, ""}).has_value());
  for (const kept_type& other : {kept_type{"trade", 16, 8, ""}, kept_type{"quote", 24, 8, ""},
                                 kept_type{"quote", 16, 64, ""}, kept_type{"quote", 16, 8, "bid:f64@0"}}) {
    const auto refused = open_as(other);
    REQUIRE(!refused.has_value());
    CHECK(refused.error() == errc::type_mismatch);
  }
  CHECK(kept.reader()->carried()->name == "quote");
}

TEST_CASE("a topic that nobody published is not found") {
  const scratch_directory directory;
  const auto r = kept_reader::open(directory.path(), topic_name, std::nullopt, 4, start::earliest);
  REQUIRE(!r.has_value());
  CHECK(r.error() == errc::not_found);
}

TEST_CASE("what retention removed is told with its count, lane by lane") {
  const kept_topic kept;
  auto options = kept.options_of("a");
  options.retention.bytes = 4 * segment_bytes_min;
  options.own_thread = false;
  const auto w = open_log(options);
  const auto b = kept.writer("b");
  const auto fill = [&](u64 begin, u64 end) {
    for (u64 n = begin; n < end; ++n) {
      lane_claim claim;
      while (w->appender().claim(400, claim) != append_status::ok) w->keeper().work();
      write_message(claim.payload, 400, n);
      w->appender().commit(claim, 400);
    }
    while (w->keeper().work()) {
    }
  };
  fill(0, 5000);
  append_all(*b, 5000, 5001);
  const auto place = cursor::parse("a:0,b:0").value();
  const auto r = kept.reader(start::at(place));
  lane_frame frame;
  kept_lane* lane = nullptr;
  REQUIRE(r->take(frame, lane) == take_status::lagged);
  CHECK(lane->name == "a");
  const u64 lost = lane->reader->lost();
  CHECK(lost > 0);
  CHECK(r->lost_total() == lost);
  CHECK(numbers(*r) == range(lost, 5001));
  // A message that is held is not removed, however much is published after it.
  fill(5001, 5002);
  REQUIRE(r->take(frame, lane) == take_status::message);
  fill(5002, 9000);
  CHECK(is_message(frame.payload, frame.payload_bytes, 5001));
  r->release(*lane, frame);
}

TEST_CASE("a forked child lets go of a topic on disk without touching what it has not") {
  const kept_topic kept;
  const auto a = kept.writer("a");
  append_all(*a, 0, 10);
  auto r = kept.reader();
  CHECK(next(*r)->number == 0);
  child forked([&] {
    // Where the segment is in the parent there is something else here: it stays.
    const auto& lane = r->lane(0);
    (void)lane;
    r.reset();
    return 0;
  });
  CHECK(forked.wait().status == 0);
  CHECK(numbers(*r) == range(1, 10));
}
