// The control segment of a topic that is kept on disk: where it is kept, who may come, and what is made of bad values.
#include <doctest/doctest.h>

#include <cstring>
#include <filesystem>
#include <quoit.hpp>
#include <quoit/inspect.hpp>
#include <string>

#include "support/bus_guard.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"
#include "topic/names.hpp"
#include "topic/topic.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

const type_info type{"message", 8, 8, ""};

topic_place place_of(const topic_directory& d) { return {d.root, d.topic.device, d.topic.inode}; }
topic_place make_place(const std::string& root, const std::string& topic) {
  auto made = make_topic_directory(root, topic);
  INFO((made ? std::string() : made.error().message()));
  REQUIRE(made.has_value());
  return place_of(*made);
}

std::shared_ptr<node> open_node_of(const bus_guard& bus) { return node::open(bus.name(), {.recheck = 10ms}).value(); }

topic::opened open_topic(const std::shared_ptr<node>& owner, const topic_place& place) {
  auto opened = topic::open(owner, "t", type, {}, 1s, place);
  INFO((opened ? std::string() : opened.error().message()));
  REQUIRE(opened.has_value());
  if (opened->moves) REQUIRE(opened->control.move_to(*owner, place, {}).has_value());
  return std::move(*opened);
}

std::string directory_of(const topic& control) { return control.storage().value().place.directory; }

// Keeps the topic there: an entry that says that its lane is on disk.
publisher_entry& enter(topic& control, const node& owner, const char* lane_name) {
  publisher_entry& entry = control.publisher(0);
  entry.lane_generation = 1;
  entry.node = owner.id().index;
  entry.node_generation = owner.id().generation;
  entry.on_disk = 1;
  std::strncpy(entry.lane_name, lane_name, sizeof entry.lane_name);
  store_release(entry.state, static_cast<u64>(participant_state::active));  // sync(topic.entry)
  return entry;
}

std::string words_of(const quoit::error& e) { return std::string(e.message()); }
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a topic on disk says where it is kept, to whoever opens it by any path to that directory") {
  const bus_guard bus;
  const scratch_directory directory;
  const auto owner = open_node_of(bus);
  const topic_place place = make_place(directory.path(), "t");
  auto first = open_topic(owner, place);
  enter(first.control, *owner, "0");
  {
    [[maybe_unused]] const topic_lock dropped = std::move(first.lock);
  }
  CHECK(directory_of(first.control) == std::filesystem::canonical(directory.path()));

  const std::string link = directory.path() + "/link";
  std::filesystem::create_directory_symlink(directory.path(), link);
  for (const std::string& path : {link, directory.path() + "/../" + directory.path().substr(9)}) {
    auto again = topic::open(owner, "t", type, {}, 1s, make_place(path, "t"));
    REQUIRE(again.has_value());
    CHECK_FALSE(again->moves);
    CHECK(directory_of(again->control) == directory_of(first.control));
  }
  auto any = topic::open(owner, "t", type, {}, 1s);
  REQUIRE(any.has_value());
  CHECK(any->storage.place.inode == place.inode);
  first.control.close_lane(*owner, 0, participant_state::closed);
  first.control.remove_if_unused();
}

TEST_CASE("a topic is kept in one place: who asks for another, or for memory, is told of both") {
  const bus_guard bus;
  const scratch_directory directory;
  const scratch_directory other;
  const auto owner = open_node_of(bus);
  auto first = open_topic(owner, make_place(directory.path(), "t"));
  enter(first.control, *owner, "0");
  {
    [[maybe_unused]] const topic_lock dropped = std::move(first.lock);
  }

  const auto elsewhere = topic::open(owner, "t", type, {}, 1s, make_place(other.path(), "t"));
  REQUIRE_FALSE(elsewhere);
  CHECK(elsewhere.error() == errc::policy_conflict);
  CHECK(has(words_of(elsewhere.error()), directory.path()));
  CHECK(has(words_of(elsewhere.error()), other.path()));

  const auto in_memory = topic::open(owner, "t", type, {}, 1s, topic_place());
  REQUIRE_FALSE(in_memory);
  CHECK(in_memory.error() == errc::policy_conflict);
  CHECK(has(words_of(in_memory.error()), directory.path()));
  CHECK(has(words_of(in_memory.error()), "in memory"));

  std::filesystem::rename(directory.path() + "/t", directory.path() + "/old");
  const auto replaced = topic::open(owner, "t", type, {}, 1s, make_place(directory.path(), "t"));
  REQUIRE_FALSE(replaced);
  CHECK(replaced.error() == errc::policy_conflict);
  CHECK(has(words_of(replaced.error()), "replaced"));
  first.control.close_lane(*owner, 0, participant_state::closed);
  first.control.remove_if_unused();
}

TEST_CASE("publishers and subscribers in memory are refused on a topic on disk, and the other way round") {
  const bus_guard name;
  const scratch_directory directory;
  auto bus = quoit::bus::open(name.name()).value();
  {
    const auto owner = open_node_of(name);
    auto first = open_topic(owner, make_place(directory.path(), "t"));
    enter(first.control, *owner, "0");
    {
      [[maybe_unused]] const topic_lock dropped = std::move(first.lock);
    }
    // What they carry is asked first.
    CHECK(bus.publisher<checked>("t").error() == errc::type_mismatch);
    first.control.close_lane(*owner, 0, participant_state::closed);
    first.control.remove_if_unused();
  }
  auto pub = bus.publisher<checked>("t").value();
  const auto owner = open_node_of(name);
  const auto info = quoit::inspect(name.name()).value();
  REQUIRE(info.topics.size() == 1);
  const type_info carried{info.topics[0].type_name, info.topics[0].type_bytes, info.topics[0].type_alignment,
                          info.topics[0].type_fields};
  const auto kept = topic::open(owner, "t", carried, {}, 1s, make_place(directory.path(), "t"));
  REQUIRE_FALSE(kept);
  CHECK(kept.error() == errc::policy_conflict);
}

TEST_CASE("where a topic on disk was left by the dead alone, it may be made anew elsewhere") {
  const bus_guard bus;
  const scratch_directory directory;
  const scratch_directory other;
  const auto owner = open_node_of(bus);
  {
    const auto gone = open_node_of(bus);
    auto first = open_topic(gone, make_place(directory.path(), "t"));
    enter(first.control, *gone, "0").node_generation += 100;  // a node that never was
  }
  auto again = open_topic(owner, make_place(other.path(), "t"));
  CHECK(directory_of(again.control) == std::filesystem::canonical(other.path()));
  again.control.remove_if_unused();
}

TEST_CASE("an entry on disk is freed when its node dies or its publisher leaves, and no files are looked for") {
  for (const bool dies : {false, true}) {
    const bus_guard bus;
    const scratch_directory directory;
    const auto owner = open_node_of(bus);
    auto opened = open_topic(owner, make_place(directory.path(), "t"));
    topic& control = opened.control;
    publisher_entry& entry = enter(control, *owner, "0");
    const u64 before = load_relaxed(control.header().roster);
    CHECK(topic::is_on_disk(entry));
    CHECK(topic::lane_name_of(entry) == "0");
    CHECK(control.leave_lane(*owner, 0, 3));
    if (dies) {
      entry.node_generation += 100;
      control.clean_dead(*owner);
    } else {
      control.close_lane(*owner, 0, participant_state::closed);
    }
    CHECK(control.state(entry) == participant_state::free);
    CHECK(load_relaxed(control.header().roster) == before + 1);
    control.remove_if_unused();
  }
}

TEST_CASE("a listing says where a topic is kept and by which name, whatever stands there") {
  const bus_guard bus;
  const scratch_directory directory;
  const auto owner = open_node_of(bus);
  auto opened = open_topic(owner, make_place(directory.path(), "t"));
  publisher_entry& entry = enter(opened.control, *owner, "feed");
  auto info = quoit::inspect(bus.name()).value();
  REQUIRE(info.topics.size() == 1);
  CHECK(info.topics[0].problem.empty());
  CHECK(info.topics[0].directory == std::filesystem::canonical(directory.path()));
  REQUIRE(info.topics[0].publishers.size() == 1);
  CHECK(info.topics[0].publishers[0].name == "feed");

  std::memset(entry.lane_name, 'x', sizeof entry.lane_name);  // no end
  info = quoit::inspect(bus.name()).value();
  CHECK(info.topics[0].publishers[0].name == std::string(lane_name_bytes_max, 'x'));

  auto memory = owner->store().map(storage_record_file(topic_file(bus.name(), "t"), 1), access::read_write).value();
  storage_header& record = memory.object<storage_header>();
  std::memset(record.directory, '/', sizeof record.directory);  // no end
  info = quoit::inspect(bus.name()).value();
  REQUIRE(info.topics.size() == 1);
  CHECK(has(info.topics[0].problem, "absolute path"));
  std::memset(record.directory, 0, sizeof record.directory);
  std::strcpy(record.directory, "relative/path");
  CHECK(has(quoit::inspect(bus.name()).value().topics.at(0).problem, "absolute path"));
  {
    [[maybe_unused]] const topic_lock dropped = std::move(opened.lock);
  }
  CHECK(topic::open(owner, "t", type, {}, 1s).error() == errc::corrupt);
  std::strcpy(record.directory, "/");
  topic_header& header = opened.control.header();
  for (const u64 features : {u64{0}, topic_has_storage | 1}) {
    header.prefix.required_features = features;
    CHECK(topic::open_file(owner, topic_file(bus.name(), "t"), 1s).error() == errc::newer_version);
  }
  header.prefix.required_features = topic_has_storage;
  opened.control.close_lane(*owner, 0, participant_state::closed);
  opened.control.remove_if_unused();
}

TEST_CASE("a topic that can be no directory, and a directory that can not be made, are refused") {
  const scratch_directory directory;
  CHECK(make_topic_directory(directory.path(), "..").error() == errc::invalid_name);
  CHECK(make_topic_directory(directory.path(), ".").error() == errc::invalid_name);
  CHECK(find_topic_directory(directory.path(), "..").error() == errc::invalid_name);
  CHECK(find_topic_directory(directory.path(), "t").error() == errc::not_found);
  CHECK(make_topic_directory(directory.path() + "/missing/deep", "t").error() == errc::not_found);
  const auto made = make_topic_directory(directory.path() + "/new", "a/b");
  REQUIRE(made.has_value());
  CHECK(std::filesystem::is_directory(directory.path() + "/new/a+b"));
  CHECK(find_topic_directory(directory.path() + "/new", "a/b").value().topic == made->topic);
}
