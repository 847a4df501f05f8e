// Named subscriptions: where they go on, and what is believed of a file in which anything may stand.
#include <filesystem>
#include <fstream>
#include <random>

#include "storage/kept_reader.hpp"
#include "storage/subscription_file.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"

using namespace quoit::test;
using quoit::cursor;
using quoit::errc;
using quoit::start;

namespace {

constexpr const char* topic = "market/quotes";

struct remembered {
  remembered() {
    for (const char* const name : {"a", "b"}) {
      auto o = small_log(directory);
      o.name = name;
      append_all(*open_log(o), 0, 1000);
    }
  }
  std::string path(const std::string& name = "audit") const {
    return directory.path() + "/market+quotes/.subscriptions/" + name;
  }
  auto open(const std::string& name = "audit") const { return subscription_file::open(directory.path(), topic, name); }
  std::unique_ptr<subscription_file> file() const {
    auto f = open();
    INFO((f ? std::string() : f.error().message()));
    REQUIRE(f.has_value());
    return std::move(*f);
  }
  std::unique_ptr<kept_reader> reader(const start& from) const {
    return kept_reader::open(directory.path(), topic, std::nullopt, 4, from, true).value();
  }

  scratch_directory directory;
};

void take(kept_reader& r, u64 messages) {
  for (u64 n = 0; n < messages; ++n) {
    lane_frame frame;
    kept_lane* lane = nullptr;
    REQUIRE(r.take(frame, lane) == take_status::message);
    r.release(*lane, frame);
  }
}

std::string read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void write_all(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace

TEST_CASE("a subscription goes on behind its last commit, and at first where it began") {
  const remembered kept;
  cursor began;
  {
    const auto f = kept.file();
    CHECK(!f->found());
    const auto r = kept.reader(start::last(10));
    REQUIRE(f->begin(*r).has_value());
    began = r->position();
    take(*r, 3);
  }
  cursor committed;
  {
    const auto f = kept.file();
    REQUIRE(f->found());
    CHECK(*f->found() == began);
    const auto r = kept.reader(start::at(*f->found()));
    REQUIRE(f->begin(*r).has_value());
    for (int turn = 0; turn < 5; ++turn) {
      take(*r, 3);
      REQUIRE(f->commit(*r).has_value());
    }
    committed = r->position();
    take(*r, 2);
  }
  for (int turn = 0; turn < 3; ++turn) {
    const auto f = kept.file();
    CHECK(*f->found() == committed);
    const auto r = kept.reader(start::at(*f->found()));
    REQUIRE(f->begin(*r).has_value());
  }
}

TEST_CASE("a lane that a commit did not see is kept in mind by those that come later") {
  const remembered kept;
  {
    const auto f = kept.file();
    const auto r = kept.reader(start::earliest);
    REQUIRE(f->begin(*r).has_value());
    take(*r, 1500);
    REQUIRE(f->commit(*r).has_value());
  }
  const std::string lane = kept.directory.path() + "/market+quotes/a";
  std::filesystem::rename(lane, lane + "-away");
  std::filesystem::rename(lane + "-away", kept.directory.path() + "/elsewhere");
  const u64 of_a = kept.file()->found()->find("a")->sequence;
  {
    const auto f = kept.file();
    const auto r = kept.reader(start::at(*f->found()));
    REQUIRE(r->lanes() == 1);
    REQUIRE(f->begin(*r).has_value());
    REQUIRE(f->commit(*r).has_value());
  }
  CHECK(kept.file()->found()->find("a")->sequence == of_a);
}

TEST_CASE("a subscription has one holder, whom another one is told") {
  const remembered kept;
  const auto f = kept.file();
  const auto other = kept.open();
  REQUIRE(!other.has_value());
  CHECK(other.error() == errc::busy);
  CHECK(other.error().words().find("process " + std::to_string(::getpid())) != std::string_view::npos);
  CHECK(kept.open("another").has_value());
  child forked([&] {
    const auto in_child = kept.open();
    return !in_child && in_child.error() == errc::busy ? 0 : 1;
  });
  CHECK(forked.wait().status == 0);
}

TEST_CASE("a subscription's name is one of a file") {
  const remembered kept;
  for (const char* const name : {"", ".", ".hidden", "a/b", "..", "with space"}) {
    const auto f = kept.open(name);
    REQUIRE(!f.has_value());
    CHECK(f.error() == errc::invalid_name);
  }
}

TEST_CASE("whatever stands in the file of a subscription, it is one of its commits or an error that names it") {
  const remembered kept;
  std::vector<cursor> commits;
  {
    const auto f = kept.file();
    const auto r = kept.reader(start::earliest);
    REQUIRE(f->begin(*r).has_value());
    commits.push_back(r->position());
    for (int turn = 0; turn < 2; ++turn) {
      take(*r, 7);
      REQUIRE(f->commit(*r).has_value());
      commits.push_back(r->position());
    }
  }
  const std::string whole = read_all(kept.path());
  REQUIRE(whole.size() == subscription_file_bytes);
  std::mt19937_64 random(7);
  int older = 0;
  int refused = 0;
  for (int turn = 0; turn < 3000; ++turn) {
    std::string bytes = whole;
    // Where something is: the header, the first two lanes, the slots' first words.
    const std::size_t places[] = {random() % 80, 4096 + random() % 192,
                                  commit_slots_offset + random() % 3 * sizeof(commit_slot) + random() % 80};
    for (u64 flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[places[random() % 3]] ^= static_cast<char>(1u << random() % 8);
    }
    if (turn % 100 == 0) bytes.resize(random() % bytes.size());
    write_all(kept.path(), bytes);
    const auto f = kept.open();
    if (!f) {
      const bool named = f.error().words().find("audit") != std::string_view::npos;
      CHECK((f.error() == errc::corrupt || f.error() == errc::newer_version));
      CHECK(named);
      ++refused;
      continue;
    }
    REQUIRE((*f)->found());
    CHECK(std::find(commits.begin(), commits.end(), *(*f)->found()) != commits.end());
    older += *(*f)->found() != commits.back();
  }
  CHECK(older > 0);
  CHECK(refused > 0);
}

TEST_CASE("both slots of a subscription may be torn at once, and it goes on where it was opened") {
  const remembered kept;
  cursor opened;
  {
    const auto f = kept.file();
    const auto r = kept.reader(start::earliest);
    REQUIRE(f->begin(*r).has_value());
    take(*r, 10);
    REQUIRE(f->commit(*r).has_value());
  }
  {
    const auto f = kept.file();
    const auto r = kept.reader(start::at(*f->found()));
    REQUIRE(f->begin(*r).has_value());
    opened = r->position();
    take(*r, 10);
    REQUIRE(f->commit(*r).has_value());
    take(*r, 10);
    REQUIRE(f->commit(*r).has_value());
  }
  std::string bytes = read_all(kept.path());
  for (const u32 slot : {0u, 1u}) bytes[commit_slots_offset + slot * sizeof(commit_slot) + 64] ^= 1;
  write_all(kept.path(), bytes);
  CHECK(*kept.file()->found() == opened);
  bytes[commit_slots_offset + anchor_slot * sizeof(commit_slot) + 64] ^= 1;
  write_all(kept.path(), bytes);
  const auto f = kept.open();
  REQUIRE(!f.has_value());
  CHECK(f.error() == errc::corrupt);
}

TEST_CASE("a subscription whose lane was cut says where it is as soon as it is opened again") {
  const remembered kept;
  {
    const auto f = kept.file();
    const auto r = kept.reader(start::earliest);
    take(*r, 2000);
    REQUIRE(f->begin(*r).has_value());
  }
  // Only what was said at the opening counts, and the reader stands before it.
  {
    const auto f = kept.file();
    CHECK(f->found()->find("a")->sequence == 1000);
    const auto r = kept.reader(start::sequence(500));
    REQUIRE(f->begin(*r).has_value());
  }
  const auto f = kept.file();
  CHECK(f->found()->find("a")->sequence == 500);
  CHECK(f->found()->find("b")->sequence == 500);
}

TEST_CASE("a commit that does not count when a subscription is opened never counts later") {
  const remembered kept;
  cursor counted;
  {
    const auto f = kept.file();
    const auto r = kept.reader(start::earliest);
    REQUIRE(f->begin(*r).has_value());
    take(*r, 10);
    REQUIRE(f->commit(*r).has_value());
    counted = r->position();
    take(*r, 10);
    REQUIRE(f->commit(*r).has_value());
  }
  const std::string whole = read_all(kept.path());
  std::string bytes = whole;
  // Of the newest commit, which is the third: what it said is not on the disk yet, and comes later.
  const std::size_t at = commit_slots_offset + (3 % 2) * sizeof(commit_slot) + offsetof(commit_slot, sequence);
  bytes[at] ^= 1;
  write_all(kept.path(), bytes);
  CHECK(*kept.file()->found() == counted);
  bytes = read_all(kept.path());
  bytes[at] = whole[at];
  write_all(kept.path(), bytes);
  CHECK(*kept.file()->found() == counted);
}

TEST_CASE("a lane in which a seek failed stays where the last commit had it") {
  const remembered kept;
  const auto f = kept.file();
  const auto r = kept.reader(start::earliest);
  REQUIRE(f->begin(*r).has_value());
  take(*r, 2000);
  REQUIRE(f->commit(*r).has_value());
  // Nothing of this lane can be opened.
  const std::string link = kept.directory.path() + "/market+quotes/a/" + segment_name(900);
  std::filesystem::create_symlink("nowhere", link);
  CHECK(!r->seek(start::latest).has_value());
  CHECK(r->position().find("a") == nullptr);
  CHECK(r->done().find("a") == nullptr);
  REQUIRE(f->commit(*r).has_value());
  std::filesystem::remove(link);
  write_all(kept.path("copy"), read_all(kept.path()));
  const auto copy = kept.open("copy").value();
  CHECK(copy->found()->find("a")->sequence == 1000);
  CHECK(copy->found()->find("b")->sequence == 1000);
}
