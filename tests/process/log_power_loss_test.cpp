// A machine that loses its power, simulated on copies: of what was stored after the last write-back of a file, pages
// are there, are not, or are there in part. What a flush acknowledged is there; what is torn is not delivered.
#include <cerrno>
#include <map>
#include <random>

#include <fcntl.h>
#include <sys/stat.h>

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

// A copy of the lane as the next boot finds it.
void crash(const std::string& lane, const std::string& copy, std::mt19937_64& random) {
  std::filesystem::create_directories(copy);
  for (const auto& file : std::filesystem::directory_iterator(lane)) {
    const fd descriptor(::open(file.path().c_str(), O_RDONLY));
    struct stat status{};
    REQUIRE(::fstat(descriptor.get(), &status) == 0);
    const image now = content_of(descriptor.get());
    const auto found = disk().find(status.st_ino);
    image old = found != disk().end() ? found->second : image(now.size());
    // The lane's own file is never synced after it was made: any of it may be old.
    if (file.path().filename() == "lane") {
      old = now;
      std::fill(old.begin() + 128, old.end(), '\0');
    }
    image out = old;
    for (std::size_t at = 0; at < now.size(); at += 4096) {
      if (std::memcmp(&old[at], &now[at], 4096) != 0) lose(out, old, now, at, random);
    }
    const fd to(::open((copy + "/" + file.path().filename().string()).c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
    REQUIRE(::write(to.get(), out.data(), out.size()) == static_cast<ssize_t>(out.size()));
  }
}

// Reads what there is; torn messages fail the test. Returns how many, which are the first ones.
u64 count_whole(const log_writer_options& options) { return read_on(*read_from_begin(options), 0); }

}  // namespace

TEST_CASE("after a power failure every acknowledged message is there, and no torn one is delivered") {
  u64 done = 0;
  u64 cut = 0;
  for (u64 seed = 1; done < losses(); ++seed) {
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    disk().clear();
    const scratch_directory directory;
    auto options = small_log(directory);
    options.durability = log_durability::each;
    options.own_thread = false;
    options.calls = {allocate, synchronize};
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
      const std::string lane = lane_directory(copy.path(), options.topic, options.name);
      crash(w->directory(), lane, random);
      ++done;
      // A reader that comes before any publisher.
      const u64 before = count_whole(found);
      REQUIRE(before >= acknowledged);
      REQUIRE(before <= n);
      u64 kept = 0;
      {
        auto heir = open_log(found);
        cut += heir->report().cut.empty() ? 0 : 1;
        kept = count_whole(found);
        CHECK(kept >= acknowledged);
        CHECK(kept <= n);
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
      }
      CHECK(count_whole(found) == kept + 60);
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
}
