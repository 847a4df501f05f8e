// Publishers on disk that are killed at any moment: everything that they had committed is there, once, in order, and
// whole.
#include <algorithm>
#include <random>
#include <set>

#include <sys/mman.h>
#include <sys/stat.h>

#include "storage/log_check.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

// QUOIT_KILLS=5000 for the whole of it.
u64 kills() {
  const char* const wanted = std::getenv("QUOIT_KILLS");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : fast() ? 60 : 400;
}

struct shown {
  u64 committed;  // messages of which the publisher knows that they are
  u64 running;
};

// Publishes until it is killed, in all the ways there are: one loan, several at once and in another order, cut,
// abandoned.
int publish_for_ever(const log_writer_options& options, u64 n, shown& shared) {
  auto opened = log_writer::open(options);
  if (!opened) {
    std::fprintf(stderr, "publisher: %s\n", opened.error().message().c_str());
    return 10;
  }
  log_writer& w = **opened;
  __atomic_store_n(&shared.running, 1, __ATOMIC_RELEASE);
  const auto committed = [&] { __atomic_store_n(&shared.committed, n, __ATOMIC_RELEASE); };
  for (u64 turn = 0;; ++turn) {
    lane_claim first;
    lane_claim second;
    // A loan with more room than the message needs, all of it scribbled on.
    const u32 room = size_of(n) + static_cast<u32>(turn % 5 * 100);
    if (claim_waiting(w, room, first) != append_status::ok) return 11;
    std::memset(first.payload, 0xee, room);
    if (turn % 3 == 0) {
      if (claim_waiting(w, size_of(n + 1), second) != append_status::ok) return 12;
      write_message(second.payload, size_of(n + 1), n + 1);
      w.appender().commit(second, size_of(n + 1));
      write_message(first.payload, size_of(n), n);
      w.appender().commit(first, size_of(n));
      n += 2;
      committed();
      continue;
    }
    if (turn % 7 == 1) {
      w.appender().abandon(first);
      continue;
    }
    write_message(first.payload, size_of(n), n);
    w.appender().commit(first, size_of(n));
    ++n;
    committed();
  }
}

}  // namespace

TEST_CASE("nothing that was committed is lost when a publisher on disk is killed anywhere, and nothing else is read") {
  auto* const shared =
      static_cast<shown*>(::mmap(nullptr, sizeof(shown), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  REQUIRE(shared != MAP_FAILED);
  std::mt19937_64 random(::getpid());
  u64 done = 0;
  while (done < kills()) {
    const scratch_directory directory;
    auto options = small_log(directory);
    std::unique_ptr<log_reader> live;
    u64 read_live = 0;
    std::vector<u64> again;  // numbers with which the publishing began anew
    // The lane is begun anew now and then, or reading all of it would be what takes the time.
    for (int i = 0; i < 25 && done < kills(); ++i, ++done) {
      __atomic_store_n(&shared->running, 0, __ATOMIC_RELEASE);
      const u64 begin = read_live;
      __atomic_store_n(&shared->committed, begin, __ATOMIC_RELEASE);
      child publisher([&] { return publish_for_ever(options, begin, *shared); });
      if (random() % 4 != 0) {
        while (__atomic_load_n(&shared->running, __ATOMIC_ACQUIRE) == 0) ::usleep(50);
      }
      ::usleep(static_cast<useconds_t>(random() % 3000));
      publisher.kill();
      const ending how = publisher.wait();
      REQUIRE(how.signal == SIGKILL);
      const u64 committed = __atomic_load_n(&shared->committed, __ATOMIC_ACQUIRE);

      // One reader follows through all deaths, and another one checks everything from the begin.
      if (!live) {
        auto opened = log_reader::open(options.directory, options.topic, options.name, 4);
        if (!opened) continue;  // killed before there was a lane
        live = std::move(*opened);
        REQUIRE(live->start_at_earliest().has_value());
      }
      live->look_at_writer();
      u64 last = read_live;
      bool anew = false;
      while (const auto n = next_number(*live)) {
        // What a death left in a segment that had no start record yet comes when the heir has written that, before the
        // heir's first message, which has the number with which he was told to begin.
        if (!anew && *n == begin && *n < last && last <= begin + 2) {
          anew = true;
          again.push_back(begin);
          last = begin;
        }
        // A number is passed over only where a death left the first of two loans open: it is void.
        REQUIRE(*n >= last);
        REQUIRE(*n <= last + 1);
        last = *n + 1;
      }
      read_live = last;
      REQUIRE(read_live >= committed);
      const auto v = verify_lane(lane_directory(options.directory, options.topic, options.name));
      REQUIRE(v.has_value());
      // What a death leaves until the next publisher comes is no damage.
      for (const log_fault& fault : v->faults) FAIL_CHECK(fault.words);
    }
    // The heir makes the lane whole.
    {
      open_log(options);
    }
    const auto v = verify_lane(lane_directory(options.directory, options.topic, options.name)).value();
    INFO((v.faults.empty() ? std::string() : v.faults.front().words));
    CHECK(v.whole());
    CHECK(v.remains.empty());
    auto all = read_from_begin(options, true);
    u64 last = 0;
    while (const auto n = next_number(*all)) {
      if (*n < last) REQUIRE(std::find(again.begin(), again.end(), *n) != again.end());
      last = *n + 1;
    }
    CHECK(last >= read_live);
    CHECK(all->lost_total() == 0);
  }
  ::munmap(shared, sizeof(shown));
}

TEST_CASE("what a killed publisher had made ahead is removed by the next one, and a forked child removes nothing") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.own_thread = false;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  child publisher([&] {
    auto opened = log_writer::open(options);
    if (!opened) return 10;
    log_writer& w = **opened;
    const auto work = [&] {
      while (w.keeper().work()) {
      }
    };
    work();
    lane_claim claim;
    u64 n = 0;
    while (w.appender().claim(size_of(n), claim) == append_status::ok) {
      write_message(claim.payload, size_of(n), n);
      w.appender().commit(claim, size_of(n));
      ++n;
    }
    work();
    child heir([&] { return opened->reset(), 0; });
    if (heir.wait().status != 0) return 11;
    // A loan in the first of the segments that were made ahead, and no segment after it has been begun.
    if (w.appender().claim(size_of(n), claim) != append_status::ok) return 12;
    std::memset(claim.payload, 0xee, size_of(n));
    if (::write(ready[1], &n, sizeof n) != sizeof n) return 13;
    ::pause();
    return 14;
  });
  ::close(ready[1]);
  u64 n = 0;
  REQUIRE(::read(ready[0], &n, sizeof n) == sizeof n);
  ::close(ready[0]);
  publisher.kill();
  REQUIRE(publisher.wait().signal == SIGKILL);
  const std::string lane = lane_directory(options.directory, options.topic, options.name);
  CHECK(list_segments(lane).size() == 2 + segment_keeper::spares_max);
  CHECK(verify_lane(lane).value().messages == n);
  auto w = open_log(options);
  CHECK(list_segments(lane).size() == 3);
  append_all(*w, n, n + 10);
  CHECK(verify_lane(lane).value().whole());
  auto all = read_from_begin(options);
  CHECK(read_on(*all, 0) == n + 10);
}

TEST_CASE("what the heir of a killed publisher says is durable was written back, each segment of it") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.durability = log_durability::each;
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  // Several segments that nobody has asked to be written back.
  child publisher([&] {
    auto opened = log_writer::open(options);
    if (!opened) return 10;
    for (u64 n = 0; n < 1500; ++n) {
      if (append(**opened, n) != append_status::ok) return 11;
    }
    if (::write(ready[1], "", 1) != 1) return 12;
    ::pause();
    return 13;
  });
  ::close(ready[1]);
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::close(ready[0]);
  publisher.kill();
  publisher.wait();
  static std::set<ino_t> written_back;
  written_back.clear();
  options.own_thread = false;
  options.calls.synchronize = [](int file) noexcept {
    struct stat status{};
    if (::fstat(file, &status) == 0) written_back.insert(status.st_ino);
    return ::fdatasync(file);
  };
  auto w = open_log(options);
  CHECK(w->keeper().durable_position() == w->appender().frontier());
  u64 begun = 0;
  for (const u64 number : list_segments(w->directory())) {
    segment_start start{};
    const auto segment = open_segment(w->directory(), number, access::read).value();
    if (!segment->read_start(start)) continue;
    CHECK(written_back.contains(segment->header().inode));
    ++begun;
  }
  CHECK(begun > 3);
}
