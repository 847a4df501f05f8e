// A machine that loses its power, simulated on copies: of what was stored after the last write-back of a file, pages
// are there, are not, or are there in part; files that were never written back may be missing. What a flush
// acknowledged is there; what is torn is not delivered; and no sequence is used again, whatever was lost.
#include <cerrno>
#include <map>
#include <random>
#include <set>

#include <fcntl.h>
#include <sys/stat.h>

#include "storage/kept_reader.hpp"
#include "storage/log_check.hpp"
#include "support/log_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;

namespace {

using image = std::vector<char>;

// QUOIT_POWER_LOSSES=10000 for the whole of it.
u64 losses() {
  const char* const wanted = std::getenv("QUOIT_POWER_LOSSES");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : fast() ? 60 : 250;
}

// What is on the disk of each file, by inode.
std::map<ino_t, image>& disk() {
  static std::map<ino_t, image> images;
  return images;
}

image content_of(int file) {
  struct stat status{};
  if (::fstat(file, &status) != 0) std::abort();
  image bytes(static_cast<std::size_t>(status.st_size));
  if (::pread(file, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) std::abort();
  return bytes;
}

int synchronize(int file) noexcept {
  struct stat status{};
  ::fstat(file, &status);
  disk()[status.st_ino] = content_of(file);
  return 0;
}
int allocate(int file, off_t bytes) noexcept { return ::fallocate(file, 0, 0, bytes); }

// One page as it may be found: as it was written back last, as it was stored last, or a sector of each.
void lose(image& out, const image& old, const image& now, std::size_t at, std::mt19937_64& random) {
  constexpr std::size_t page = 4096;
  constexpr std::size_t sector = 512;
  const u64 how = random() % 4;
  for (std::size_t s = at; s < at + page; s += sector) {
    const bool written = how == 0 || (how == 1 && random() % 2 == 0) || (how == 2 && s < at + page / 2);
    const image& from = written ? now : old;
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(s), sector, out.begin() + static_cast<std::ptrdiff_t>(s));
  }
}

// A clock as of a machine that has none of its own: it says the same after each start.
u64 no_clock() noexcept { return 1'000'000'000; }

// A copy of the lane as the next boot finds it.
void crash(const std::string& lane, const std::string& copy, std::mt19937_64& random) {
  std::filesystem::create_directories(copy);
  // Names are on the disk in the order in which they were made.
  std::set<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(lane)) files.insert(file.path());
  bool rest_is_missing = false;
  for (const auto& path : files) {
    const fd descriptor(::open(path.c_str(), O_RDONLY));
    struct stat status{};
    REQUIRE(::fstat(descriptor.get(), &status) == 0);
    const image now = content_of(descriptor.get());
    const auto found = disk().find(status.st_ino);
    rest_is_missing = path.filename() != "lane" && found == disk().end() && (rest_is_missing || random() % 4 == 0);
    if (rest_is_missing) continue;
    const image old = found != disk().end() ? found->second : image(now.size());
    image out = old;
    for (std::size_t at = 0; at < now.size(); at += 4096) {
      if (std::memcmp(&old[at], &now[at], 4096) != 0) lose(out, old, now, at, random);
    }
    const fd to(::open((copy + "/" + path.filename().string()).c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
    REQUIRE(::write(to.get(), out.data(), out.size()) == static_cast<ssize_t>(out.size()));
  }
}

// Reads what there is; torn messages fail the test. Returns how many, which are the first ones.
u64 count_whole(const log_writer_options& options) { return read_on(*read_from_begin(options), 0); }

// Readers that were in the lane, or come to it, before a publisher does: each is somewhere, and goes on from there.
struct early_readers {
  early_readers(const log_writer_options& options, const u64 (&lane_id)[2], u64 used, std::mt19937_64& random) {
    const auto start = [&](auto&& go) {
      all.push_back(open_reader(options));
      REQUIRE(go(*all.back()).has_value());
    };
    start([](log_reader& r) { return r.start_at_latest(); });
    start([](log_reader& r) { return r.start_with_last(10); });
    start([&](log_reader& r) { return r.resume_at(used); });
    start([&](log_reader& r) { return r.start_at_sequence(used - std::min<u64>(used, random() % 100)); });
    start([](log_reader& r) { return r.start_at_earliest(); });
    where.set({options.name, lane_id[0], used});
    by_cursor = kept_reader::open(options.directory, options.topic, std::nullopt, 4, quoit::start::at(where)).value();
    read_all(*by_cursor, 0);
    for (const auto& r : all) read_to_end(*r);
  }

  static void read_to_end(log_reader& r) {
    while (next_number(r)) {
    }
  }
  // How many messages there were, from `first` on.
  static u64 read_all(kept_reader& r, u64 first) {
    u64 count = 0;
    lane_frame frame;
    kept_lane* lane = nullptr;
    for (take_status status; (status = r.take(frame, lane)) != take_status::nothing; ++count) {
      REQUIRE(status == take_status::message);
      u64 n = 0;
      std::memcpy(&n, frame.payload, 8);
      CHECK(n >= first);
      CHECK(is_message(frame.payload, frame.payload_bytes, n));
      r.release(*lane, frame);
    }
    return count;
  }
  // Each receives what the heir published, once, and nothing is said to be lost. What is before it comes too where the
  // start record of a segment was lost, and only the heir could write it anew.
  void expect(u64 begin, u64 end) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      INFO("reader " << i);
      all[i]->look_at_writer();
      const auto first = next_number(*all[i]);
      INFO("at sequence " << all[i]->sequence() << ", position " << all[i]->position() << ", begin " << begin);
      REQUIRE(first.has_value());
      CHECK(*first <= begin);
      if (i == 2) CHECK(*first == begin);
      CHECK(read_on(*all[i], *first + 1) == end);
      CHECK(all[i]->lost_total() == 0);
    }
    by_cursor->look_for_lanes();
    by_cursor->look_at_writers();
    CHECK(read_all(*by_cursor, begin) == end - begin);
    CHECK(by_cursor->lost_total() == 0);
  }

  std::vector<std::unique_ptr<log_reader>> all;
  std::unique_ptr<kept_reader> by_cursor;
  quoit::cursor where;
};

}  // namespace

TEST_CASE(
    "after a power failure every acknowledged message is there, no torn one is delivered, and no sequence is used "
    "twice") {
  u64 done = 0;
  u64 cut = 0;
  u64 lost = 0;
  for (u64 seed = 1; done < losses(); ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    disk().clear();
    const scratch_directory directory;
    auto options = small_log(directory);
    options.durability = random() % 3 == 0 ? log_durability::os : log_durability::each;
    options.own_thread = false;
    // So that the limit is raised again and again.
    if (random() % 2 == 0) options.sequences_reserved = 1 + random() % 200;
    options.calls = {allocate, synchronize, populate_pages,
                     random() % 2 == 0 ? clock_source{no_clock, no_clock} : clock_source::of_system()};
    auto w = open_log(options);
    const auto work = [&] {
      while (w->keeper().work()) {
      }
    };
    u64 n = 0;
    u64 acknowledged = 0;
    for (int turn = 0; turn < 8; ++turn) {
      const u64 end = n + random() % 150;
      for (; n < end; ++n) {
        lane_claim claim;
        append_status status = append_status::not_ready;
        while ((status = w->appender().claim(size_of(n), claim)) == append_status::not_ready) w->keeper().work();
        REQUIRE(status == append_status::ok);
        write_message(claim.payload, size_of(n), n);
        w->appender().commit(claim, size_of(n));
      }
      if (random() % 2 == 0) {
        REQUIRE(w->flush(60s).has_value());
        acknowledged = n;
      }
      if (random() % 3 == 0) work();

      const scratch_directory copy;
      auto found = options;
      found.directory = copy.path();
      // Another disk, whose files may get the inodes of others that were removed.
      found.calls.synchronize = [](int) noexcept { return 0; };
      const std::string lane = lane_directory(copy.path(), options.topic, options.name);
      crash(w->directory(), lane, random);
      ++done;
      const u64 used = w->appender().next_sequence();
      const u64 lane_id[2] = {w->lane_id()[0], w->lane_id()[1]};
      // A reader that comes before any publisher.
      const u64 before = count_whole(found);
      REQUIRE(before >= acknowledged);
      REQUIRE(before <= n);
      early_readers readers(found, lane_id, used, random);
      u64 kept = 0;
      {
        auto heir = open_log(found);
        cut += heir->report().cut.empty() ? 0 : 1;
        kept = count_whole(found);
        lost += n - kept;
        CHECK(kept >= acknowledged);
        CHECK(kept <= n);
        const u64 first_used = heir->appender().next_sequence();
        CHECK(first_used >= used);
        for (u64 m = kept; m < kept + 60; ++m) {
          lane_claim claim;
          append_status status = append_status::not_ready;
          while ((status = heir->appender().claim(size_of(m), claim)) == append_status::not_ready)
            heir->keeper().work();
          REQUIRE(status == append_status::ok);
          write_message(claim.payload, size_of(m), m);
          heir->appender().commit(claim, size_of(m));
        }
        REQUIRE(heir->flush(60s).has_value());
        readers.expect(kept, kept + 60);
        // Whoever had received what is lost comes again, and misses nothing.
        for (const u64 place : {used, used - std::min<u64>(used, n - kept)}) {
          auto late = open_reader(found);
          REQUIRE(late->start_at_sequence(place).has_value());
          CHECK(read_on(*late, kept) == kept + 60);
          CHECK(late->lost_total() == 0);
        }
        const u64 all_used = heir->appender().next_sequence();
        heir.reset();
        CHECK(open_log(found)->appender().next_sequence() == all_used);
      }
      CHECK(count_whole(found) == kept + 60);
      const auto v = verify_lane(lane).value();
      INFO((v.faults.empty() ? std::string() : v.faults.front().words));
      CHECK(v.whole());
      // And once more from a copy that nobody believes.
      const scratch_directory again;
      std::filesystem::copy(copy.path(), again.path(), std::filesystem::copy_options::recursive);
      found.directory = again.path();
      CHECK(count_whole(found) == kept + 60);
      {
        open_log(found);
      }
      CHECK(count_whole(found) == kept + 60);
    }
  }
  // Or nothing was torn, and the test shows nothing.
  CHECK(cut > 0);
  CHECK(lost > 0);
}
