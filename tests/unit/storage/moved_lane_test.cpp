// Directories that are renamed, removed or replaced while a publisher or a reader is in them.
#include <sched.h>
#include <sys/mount.h>

#include <filesystem>
#include <functional>

#include "storage/kept_reader.hpp"
#include "storage/log_check.hpp"
#include "storage/subscription_file.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::start;
namespace fs = std::filesystem;

namespace {

std::string lane_of(const log_writer_options& o) { return lane_directory(o.directory, o.topic, o.name); }

void copy(const std::string& from, const std::string& to) { fs::copy(from, to, fs::copy_options::recursive); }

// Each takes a lane away from its path; the second is what undoes it, if that is possible.
struct removal {
  const char* what;
  std::function<void(const log_writer_options&)> take_away;
  std::function<void(const log_writer_options&)> put_back;
};

const std::vector<removal>& removals() {
  static const std::vector<removal> all{
      {"the lane's directory is renamed", [](const auto& o) { fs::rename(lane_of(o), lane_of(o) + ".old"); },
       [](const auto& o) { fs::rename(lane_of(o) + ".old", lane_of(o)); }},
      {"the topic's directory is renamed",
       [](const auto& o) { fs::rename(o.directory + "/market+quotes", o.directory + "/old"); },
       [](const auto& o) { fs::rename(o.directory + "/old", o.directory + "/market+quotes"); }},
      {"the directory of topics is renamed", [](const auto& o) { fs::rename(o.directory, o.directory + ".old"); },
       [](const auto& o) { fs::rename(o.directory + ".old", o.directory); }},
      {"the lane's directory is replaced by a copy",
       [](const auto& o) {
         fs::rename(lane_of(o), lane_of(o) + ".old");
         copy(lane_of(o) + ".old", lane_of(o));
       },
       [](const auto& o) {
         fs::remove_all(lane_of(o));
         fs::rename(lane_of(o) + ".old", lane_of(o));
       }},
      {"the lane's file is replaced by a copy",
       [](const auto& o) {
         fs::copy_file(lane_of(o) + "/lane", lane_of(o) + "/copy");
         fs::rename(lane_of(o) + "/copy", lane_of(o) + "/lane");
       },
       {}},
      {"the lane's directory is removed", [](const auto& o) { fs::remove_all(lane_of(o)); }, {}},
  };
  return all;
}

// Until it is refused; the first message that was not published.
u64 append_until_refused(log_writer& w, u64 n, append_status& status) {
  while ((status = append(w, n)) == append_status::ok) {
    ++n;
    ::usleep(100);
  }
  return n;
}

}  // namespace

TEST_CASE("a publisher whose directory was renamed removes nothing from the directory that has its name now") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto first = open_log(options);
  append_all(*first, 0, 10);
  while (first->keeper().spares() == 0) ::usleep(1000);
  fs::rename(lane_of(options), directory.path() + "/elsewhere");
  auto second = open_log(options);
  append_all(*second, 0, 1000);
  const auto before = begun_segments(lane_of(options));
  REQUIRE(before.size() > 3);
  first.reset();
  CHECK(begun_segments(lane_of(options)) == before);
  CHECK(read_on(*read_from_begin(options), 0) == 1000);
  // Its own spare segments are gone.
  CHECK(list_segments(directory.path() + "/elsewhere") == std::vector<u64>{1});
}

TEST_CASE("a publisher removes no segment that was put in the place of one that it made ahead") {
  const scratch_directory directory;
  auto options = small_log(directory);
  options.own_thread = false;
  auto w = open_log(options);
  append_all(*w, 0, 10);
  while (w->keeper().work()) {
  }
  REQUIRE(w->keeper().spares() == 1);
  // Restored in place: a file of the same lane under the name of the one that was made ahead.
  const std::string made = lane_of(options) + "/" + segment_name(2);
  fs::copy_file(made, made + ".copy");
  fs::rename(made + ".copy", made);
  w.reset();
  CHECK(fs::exists(made));
}

TEST_CASE(
    "a publisher whose lane is not at its path any more is told, by a flush at once and by loans within a second") {
  for (const removal& r : removals()) {
    for (const bool flushes : {true, false}) {
      // Waits for the look once a second: of one that can be undone, and of one that cannot.
      if (!flushes && &r != &removals().front() && &r != &removals().back()) continue;
      INFO(r.what << (flushes ? ", and it flushes" : ", and it only publishes"));
      const scratch_directory directory;
      auto options = small_log(directory);
      options.directory += "/topics";
      // Nothing but the look once a second: it does not come to the end of this.
      options.kind.segment_bytes = u64{16} << 20;
      auto w = open_log(options);
      append_all(*w, 0, 10);
      while (w->keeper().spares() == 0) ::usleep(1000);
      r.take_away(options);
      u64 n = 10;
      append_status status = append_status::ok;
      if (flushes) {
        // Refused where the look was first.
        if (append(*w, n) == append_status::ok) ++n;
        const auto flushed = w->flush(60s);
        REQUIRE(!flushed.has_value());
        CHECK(flushed.error() == errc::not_found);
        CHECK(flushed.error().words().find(lane_of(options) + "/lane") != std::string_view::npos);
        status = append(*w, n);
      } else {
        n = append_until_refused(*w, n, status);
      }
      CHECK(status == append_status::no_space);
      CHECK(w->keeper().supply_failure() == errc::not_found);
      CHECK(append(*w, n) == append_status::no_space);
      if (!r.put_back) continue;
      r.put_back(options);
      while ((status = append(*w, n)) == append_status::no_space) ::usleep(1000);
      REQUIRE(status == append_status::ok);
      append_all(*w, n + 1, n + 100);
      CHECK(w->flush(60s).has_value());
      CHECK(read_on(*read_from_begin(options), 0) == n + 100);
      w.reset();
      CHECK(verify_lane(lane_of(options)).value().whole());
    }
  }
}

TEST_CASE("a publisher whose lane is not at its path any more makes no segment and takes none") {
  for (const removal& r : removals()) {
    INFO(r.what);
    const scratch_directory directory;
    auto options = small_log(directory);
    options.directory += "/topics";
    options.own_thread = false;
    auto w = open_log(options);
    const auto work = [&] {
      while (w->keeper().work()) {
      }
    };
    work();
    REQUIRE(w->keeper().spares() == 1);
    // The last one that is ready: the next is asked for behind it.
    u64 n = 0;
    for (lane_claim claim; w->keeper().spares() == 1; ++n) {
      REQUIRE(w->appender().claim(size_of(n), claim) == append_status::ok);
      write_message(claim.payload, size_of(n), n);
      w->appender().commit(claim, size_of(n));
    }
    r.take_away(options);
    const auto before = list_segments(lane_of(options));
    work();
    CHECK(w->keeper().supply_failure() == errc::not_found);
    lane_claim claim;
    CHECK(w->appender().claim(8, claim) == append_status::no_space);
    CHECK(list_segments(lane_of(options)) == before);
  }
}

TEST_CASE("a link or a mount that leads elsewhere by now is told to the publisher behind it") {
  const scratch_directory directory;
  fs::create_directory(directory.path() + "/one");
  fs::create_directory(directory.path() + "/two");
  const std::string link = directory.path() + "/topics";
  fs::create_directory_symlink("one", link);
  auto options = small_log(directory);
  options.directory = link;
  auto w = open_log(options);
  append_all(*w, 0, 10);
  REQUIRE(w->flush(60s).has_value());
  fs::remove(link);
  fs::create_directory_symlink("two", link);
  const auto second = open_log(options);
  append_all(*second, 0, 5);
  static_cast<void>(append(*w, 10));
  CHECK(w->flush(60s).error() == errc::not_found);
  CHECK(append(*w, 11) == append_status::no_space);
  CHECK(second->flush(60s).has_value());

  if (under_tsan) QUOIT_SKIP("the sanitizer ends a forked child that makes a thread");
  constexpr int not_permitted = 77;
  child mounted([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
      return not_permitted;
    }
    auto o = small_log(directory);
    o.directory = directory.path() + "/mounted";
    auto below = log_writer::open(o);
    if (!below || append(**below, 0) != append_status::ok) return 1;
    if (::mount((directory.path() + "/two").c_str(), o.directory.c_str(), nullptr, MS_BIND, nullptr) != 0) {
      return not_permitted;
    }
    const auto flushed = (*below)->flush(60s);
    if (flushed || flushed.error() != errc::not_found) return 2;
    if (append(**below, 1) != append_status::no_space) return 3;
    ::umount(o.directory.c_str());
    append_status status = append_status::no_space;
    while ((status = append(**below, 1)) == append_status::no_space) ::usleep(1000);
    return status == append_status::ok ? 0 : 4;
  });
  const ending how = mounted.wait();
  if (how.status == not_permitted) QUOIT_SKIP("a mount of its own is not permitted here");
  CHECK(how.status == 0);
}

TEST_CASE("a lane that is replaced while it is opened is opened at its path, or not at all") {
  const scratch_directory directory;
  auto options = small_log(directory);
  open_log(options).reset();
  // Renamed and made anew all the time, for as long as a publisher opens it.
  std::atomic<bool> over = false;
  std::thread renaming([&] {
    for (int n = 0; !over; ++n) {
      std::error_code ignored;
      fs::rename(lane_of(options), directory.path() + "/old-" + std::to_string(n), ignored);
    }
  });
  for (int n = 0; n < 30; ++n) {
    const auto w = log_writer::open(options);
    if (!w) CHECK((w.error() == errc::not_found || w.error() == errc::busy));
  }
  over = true;
  renaming.join();
  const auto w = open_log(options);
  append_all(*w, 0, 10);
  CHECK(w->flush(60s).has_value());
  CHECK(log_writer::open(options).error() == errc::busy);
}

TEST_CASE("a reader asks where it reads whether a publisher lives, and not at the path of its lane") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto w = open_log(options);
  append_all(*w, 0, 3);
  auto r = read_from_begin(options);
  CHECK(read_on(*r, 0) == 3);
  lane_claim loan;
  REQUIRE(claim_waiting(*w, 100, loan) == append_status::ok);
  append_all(*w, 4, 6);
  fs::rename(lane_of(options), lane_of(options) + ".old");
  r->look_at_writer();
  CHECK(!next_number(*r));
  fs::remove(lane_of(options) + ".old/lane");
  r->look_at_writer();
  CHECK(!next_number(*r));
  write_message(loan.payload, 100, 3);
  w->appender().commit(loan, 100);
  CHECK(read_on(*r, 3) == 6);
}

TEST_CASE("readers of a lane that was renamed read it to its end, and one of its name comes as another") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  auto first = open_log(options);
  append_all(*first, 0, 500);
  const auto r = kept_reader::open(directory.path(), options.topic, std::nullopt, 4, start::earliest).value();
  const auto numbers = [&] {
    std::vector<u64> got;
    lane_frame frame;
    kept_lane* lane = nullptr;
    while (r->take(frame, lane) == take_status::message) {
      u64 n = 0;
      std::memcpy(&n, frame.payload, 8);
      got.push_back(n);
      r->release(*lane, frame);
    }
    return got;
  };
  CHECK(numbers().size() == 500);
  fs::rename(lane_of(options), directory.path() + "/elsewhere");
  // What it publishes until it is told is read, in segments that come behind, too.
  for (u64 n = 500; append(*first, n) == append_status::ok && n < 800; ++n) {
  }
  CHECK(numbers().size() > 1);
  const auto second = open_log(options);
  append_all(*second, 1000, 1010);
  r->look_for_lanes();
  CHECK(r->lanes() == 2);
  CHECK(numbers() == std::vector<u64>{1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009});
}

TEST_CASE("a reader goes on in the directory that took the place of its lane's, and what it holds stays") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  append_all(*open_log(options), 0, 1000);
  const auto r = kept_reader::open(directory.path(), options.topic, std::nullopt, 4, start::earliest, true).value();
  lane_frame held;
  kept_lane* lane = nullptr;
  for (u64 n = 0; n < 400; ++n) {
    if (n > 0) r->release(*lane, held);
    REQUIRE(r->take(held, lane) == take_status::message);
  }
  copy(lane_of(options), directory.path() + "/restored");
  fs::remove_all(lane_of(options));
  fs::rename(directory.path() + "/restored", lane_of(options));
  r->look_for_lanes();
  REQUIRE(r->lanes() == 1);
  CHECK(is_message(held.payload, held.payload_bytes, 399));
  CHECK(r->done().find("0")->sequence == 399);
  for (u64 n = 400; n < 1000; ++n) {
    lane_frame frame;
    REQUIRE(r->take(frame, lane) == take_status::message);
    CHECK(is_message(frame.payload, frame.payload_bytes, n));
    CHECK(is_message(held.payload, held.payload_bytes, 399));
    r->release(*lane, frame);
  }
  r->release(*lane, held);
  CHECK(r->done() == r->position());
  CHECK(r->lost_total() == 0);
  // And on, with the publisher that goes on there.
  append_all(*open_log(options), 1000, 1100);
  u64 n = 1000;
  for (lane_frame frame; r->take(frame, lane) == take_status::message; ++n) {
    CHECK(is_message(frame.payload, frame.payload_bytes, n));
    r->release(*lane, frame);
  }
  CHECK(n == 1100);
}

TEST_CASE("the holder of a named subscription is told that its file is not at its path any more") {
  const scratch_directory directory;
  const auto options = small_log(directory);
  append_all(*open_log(options), 0, 100);
  const std::string folder = directory.path() + "/market+quotes/.subscriptions";
  const auto first = subscription_file::open(directory.path(), options.topic, "audit").value();
  const auto r = kept_reader::open(directory.path(), options.topic, std::nullopt, 4, start::earliest, true).value();
  REQUIRE(first->begin(*r).has_value());
  REQUIRE(first->commit(*r).has_value());
  fs::rename(folder, folder + ".old");
  const auto second = subscription_file::open(directory.path(), options.topic, "audit");
  REQUIRE(second.has_value());
  CHECK(!(*second)->found());
  quoit::result<void> committed;
  while ((committed = first->commit(*r)).has_value()) ::usleep(1000);
  CHECK(committed.error() == errc::not_found);
  CHECK(committed.error().words().find(folder + "/audit") != std::string_view::npos);
  CHECK(first->commit(*r).error() == errc::not_found);
  fs::rename(folder, folder + ".new");
  fs::rename(folder + ".old", folder);
  CHECK(first->commit(*r).has_value());
}
