// Subscribers that are there before a publisher says where the topic is kept.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <quoit.hpp>
#include <quoit/inspect.hpp>
#include <string>
#include <thread>
#include <vector>

#include "storage/log_lane.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/disk_fixture.hpp"
#include "support/messages.hpp"
#include "topic/names.hpp"
#include "topic/topic.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::mode;
using quoit::start;

namespace {

using subscriber = quoit::subscriber<checked>;
using publisher = quoit::publisher<checked>;

quoit::subscriber_options from(const start& where) { return {.start = where}; }
quoit::subscriber_options in(const scratch_directory& directory, const start& where = start::latest) {
  quoit::subscriber_options o;
  o.start = where;
  o.directory = directory.path();
  return o;
}

// The numbers of all messages that are there, in order.
std::vector<u64> numbers(subscriber& sub) {
  std::vector<u64> all;
  for (auto s = must(sub.poll()); s; s = must(sub.poll())) {
    CHECK(s->intact());
    all.push_back(s->number);
  }
  return all;
}

std::vector<u64> range(u64 begin, u64 end) {
  std::vector<u64> all;
  for (u64 n = begin; n < end; ++n) all.push_back(n);
  return all;
}

std::vector<u64> sorted(std::vector<u64> all) {
  std::sort(all.begin(), all.end());
  return all;
}

struct one_bus {
  good_disk disk;
  bus_guard name;
  scratch_directory directory;
  quoit::bus bus = must(quoit::bus::open(name.name()));

  subscriber subscribe(const quoit::subscriber_options& o = {}) { return must(bus.subscriber<checked>("t", o)); }
  publisher publish_in(const scratch_directory& where, const char* lane = "0") {
    return must(bus.publisher<checked>("t", on_disk(where, lane)));
  }
  // What earlier processes have published there.
  void fill(const scratch_directory& where, u64 begin, u64 end, const char* lane = "0") {
    auto other = must(quoit::bus::open(name.name()));
    auto pub = must(other.publisher<checked>("t", on_disk(where, lane)));
    publish_all(pub, begin, end);
  }
  std::size_t records() const {
    const auto files = name.files();
    return static_cast<std::size_t>(
        std::count_if(files.begin(), files.end(), [](const std::string& file) { return file.back() == 'd'; }));
  }
};

}  // namespace

TEST_CASE("a subscriber that is there first receives all that a publisher on disk publishes") {
  one_bus on;
  auto sub = on.subscribe();
  auto pub = on.publish_in(on.directory);
  CHECK(pub.subscribers() == 1);
  publish_all(pub, 0, 2000);
  CHECK(numbers(sub) == range(0, 2000));
  CHECK(sub.publishers() == 1);
  publish_all(pub, 2000, 2010);
  CHECK(numbers(sub) == range(2000, 2010));
  CHECK(sub.position().has_value());
  CHECK(must(quoit::inspect(on.name.name())).topics.at(0).directory == std::filesystem::canonical(on.directory.path()));
}

TEST_CASE("where the directory has messages already, each subscriber begins where it asked to") {
  one_bus on;
  on.fill(on.directory, 0, 700);
  auto latest = on.subscribe();
  auto earliest = on.subscribe(from(start::earliest));
  auto last = on.subscribe(from(start::last(3)));
  auto more = on.subscribe(from(start::last(5000)));
  auto pub = on.publish_in(on.directory);
  CHECK(pub.sequence() == 700);
  publish_all(pub, 700, 1400);
  CHECK(numbers(latest) == range(700, 1400));
  CHECK(numbers(earliest) == range(0, 1400));
  CHECK(numbers(last) == range(697, 1400));
  CHECK(numbers(more) == range(0, 1400));
}

TEST_CASE("a subscriber begins where the lanes ended when the publisher came, however late it looks") {
  one_bus on;
  on.fill(on.directory, 0, 10, "a");
  on.fill(on.directory, 0, 10, "b");
  auto latest = on.subscribe();
  auto last = on.subscribe(from(start::last(2)));
  {
    auto a = on.publish_in(on.directory, "a");
    publish_all(a, 10, 20);
    // One more, and a new one.
    auto b = on.publish_in(on.directory, "b");
    publish_all(b, 10, 20);
    auto c = on.publish_in(on.directory, "c");
    publish_all(c, 0, 5);
  }
  // Nobody publishes any more. Nothing is lost, and nothing of before comes.
  std::vector<u64> wanted = range(10, 20);
  for (const auto& more : {range(10, 20), range(0, 5)}) wanted.insert(wanted.end(), more.begin(), more.end());
  CHECK(sorted(numbers(latest)) == sorted(wanted));
  for (const u64 n : {8, 9, 8, 9}) wanted.push_back(n);
  CHECK(sorted(numbers(last)) == sorted(wanted));
}

TEST_CASE(
    "a subscriber that names the directory does not keep out those that came before without it, nor the publisher") {
  one_bus on;
  on.fill(on.directory, 0, 5);
  auto without = on.subscribe();
  auto with = on.subscribe(in(on.directory, start::earliest));
  auto late = on.subscribe();
  auto pub = on.publish_in(on.directory);
  CHECK(pub.subscribers() == 3);
  publish_all(pub, 5, 10);
  CHECK(numbers(without) == range(5, 10));
  CHECK(numbers(with) == range(0, 10));
  CHECK(numbers(late) == range(5, 10));
}

TEST_CASE("a topic with a publisher in memory is refused to one on disk, with its name, until that leaves") {
  one_bus on;
  auto sub = on.subscribe();
  std::optional<publisher> in_memory = must(on.bus.publisher<checked>("t"));
  publish_all(*in_memory, 0, 5);
  const auto refused = on.bus.publisher<checked>("t", on_disk(on.directory));
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::policy_conflict);
  CHECK(has(message_of(refused.error()), "in memory alone by a publisher of process " + std::to_string(::getpid())));
  CHECK(on.bus.subscriber<checked>("t", in(on.directory)).error() == errc::policy_conflict);
  auto first = must(sub.poll());
  CHECK(first->number == 0);
  in_memory.reset();
  // What it left is read from its ring, and a sample in it stays held.
  auto pub = on.publish_in(on.directory);
  publish_all(pub, 5, 10);
  CHECK(numbers(sub) == range(1, 10));
  CHECK(first->intact());
}

TEST_CASE("a publisher in memory comes after one on disk, where no subscriber named the directory") {
  one_bus on;
  auto sub = on.subscribe(from(start::earliest));
  std::optional<publisher> pub = on.publish_in(on.directory);
  publish_all(*pub, 0, 5);
  CHECK(on.bus.publisher<checked>("t").error() == errc::policy_conflict);
  pub.reset();
  std::optional<publisher> in_memory = must(on.bus.publisher<checked>("t"));
  CHECK(in_memory->subscribers() == 1);
  publish_all(*in_memory, 5, 10);
  CHECK(sorted(numbers(sub)) == range(0, 10));
  in_memory.reset();
  {
    // Back again: what it has read there does not come again.
    auto back = on.publish_in(on.directory);
    publish_all(back, 10, 15);
    CHECK(numbers(sub) == range(10, 15));
  }
  auto named = on.subscribe(in(on.directory));
  const auto refused = on.bus.publisher<checked>("t");
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::policy_conflict);
  CHECK(has(message_of(refused.error()), "which named its directory"));
}

TEST_CASE("a topic that is moved from directory to directory loses nothing for those who did not look meanwhile") {
  one_bus on;
  const scratch_directory second;
  on.fill(second, 100, 105);
  auto sub = on.subscribe();
  auto earliest = on.subscribe(from(start::earliest));
  u64 n = 0;
  for (int turn = 0; turn < 3; ++turn) {
    for (const bool first : {true, false}) {
      auto pub = on.publish_in(first ? on.directory : second);
      publish_all(pub, n, n + 10);
      n += 10;
    }
    auto in_memory = must(on.bus.publisher<checked>("t"));
    publish_all(in_memory, n, n + 10);
    n += 10;
  }
  CHECK(sorted(numbers(sub)) == range(0, n));
  std::vector<u64> all = range(0, n);
  for (const u64 old : range(100, 105)) all.push_back(old);
  CHECK(sorted(numbers(earliest)) == sorted(all));
  CHECK(sub.lost() == 0);
}

TEST_CASE("records that every subscriber has followed are removed, and all of them with the topic") {
  one_bus on;
  const scratch_directory second;
  {
    auto sub = on.subscribe();
    auto slow = on.subscribe();
    for (u64 turn = 0; turn < 10; ++turn) {
      auto pub = on.publish_in(turn % 2 == 0 ? on.directory : second);
      publish_all(pub, turn, turn + 1);
      CHECK(numbers(sub) == range(turn, turn + 1));
    }
    CHECK(on.records() == 10);
    CHECK(sorted(numbers(slow)) == range(0, 10));
    auto pub = on.publish_in(on.directory);
    CHECK(on.records() <= 2);
  }
  CHECK(on.name.files().size() == 1);
}

TEST_CASE("an observer that is there before the publisher on disk sees what it publishes") {
  one_bus on;
  auto keeps_alive = on.subscribe();
  auto observer = on.subscribe({.mode = mode::observer});
  auto pub = on.publish_in(on.directory);
  publish_all(pub, 0, 100);
  for (u64 n = 0; n < 100; ++n) CHECK(must(observer.wait(60s))->number == n);
}

TEST_CASE("a thread that waits is woken by a publisher on disk that comes") {
  one_bus on;
  auto sub = on.subscribe();
  quoit::test::child publishes([&] {
    auto bus = quoit::bus::open(on.name.name()).value();
    auto pub = bus.publisher<checked>("t", on_disk(on.directory)).value();
    for (u64 n = 0; n < 10; ++n) {
      if (!pub.publish_for(checked::make(0, n), 60s)) return 1;
    }
    return 0;
  });
  for (u64 n = 0; n < 10; ++n) CHECK(must(sub.wait(60s))->number == n);
  CHECK(publishes.wait().status == 0);
}

TEST_CASE("a descriptor in another loop becomes readable for a publisher on disk that comes") {
  one_bus on;
  auto sub = on.subscribe();
  const int descriptor = must(sub.fd());
  CHECK(numbers(sub).empty());
  CHECK(numbers(sub).empty());
  auto other = must(quoit::bus::open(on.name.name()));
  auto pub = must(other.publisher<checked>("t", on_disk(on.directory)));
  publish_all(pub, 0, 10);
  std::vector<u64> got;
  while (got.size() < 10) {
    pollfd ready{descriptor, POLLIN, 0};
    REQUIRE(::poll(&ready, 1, 60'000) == 1);
    for (const u64 n : numbers(sub)) got.push_back(n);
  }
  CHECK(got == range(0, 10));
}

namespace {

quoit::task<> receive_ten(subscriber& sub, std::vector<u64>& got) {
  while (got.size() < 10) {
    auto sample = co_await sub.next();
    if (!sample) co_return;
    got.push_back((*sample)->number);
  }
}

quoit::task<> publish_ten(quoit::bus& bus, quoit::publisher_options options) {
  auto opened = co_await bus.publisher_async<checked>("t", options);
  if (!opened) co_return;
  auto matched = co_await opened->matched(1);
  if (!matched) co_return;
  for (u64 n = 0; n < 10; ++n) {
    auto loan = co_await opened->loan();
    if (!loan) co_return;
    **loan = checked::make(0, n);
    std::move(*loan).publish();
  }
  // It stays until they are read: its messages are on disk, but its place in the table is what wakes.
  auto slept = co_await quoit::sleep_for(1ms);
  static_cast<void>(slept);
}

quoit::task<> both(quoit::executor& executor, const one_bus& on, std::vector<u64>& got) {
  auto bus = quoit::bus::open(executor, on.name.name()).value();
  auto other = quoit::bus::open(executor, on.name.name()).value();
  auto sub = co_await other.subscriber_async<checked>("t");
  if (!sub) co_return;
  quoit::scope tasks;
  tasks.spawn(receive_ten(*sub, got));
  tasks.spawn(publish_ten(bus, on_disk(on.directory)));
  co_await tasks.join();
}

}  // namespace

TEST_CASE("coroutines that wait in a loop go on with a publisher on disk that comes") {
  one_bus on;
  auto executor = must(quoit::executor::create());
  std::vector<u64> got;
  executor.run(both(executor, on, got));
  CHECK(got == range(0, 10));
}

TEST_CASE("a directory that cannot be read for want of descriptors is said once, and read from its begin later") {
  one_bus on;
  auto sub = on.subscribe();
  auto pub = on.publish_in(on.directory);
  publish_all(pub, 0, 10);
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlimit none{0, limit.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  const auto refused = sub.poll();
  const auto nothing = sub.poll();
  ::setrlimit(RLIMIT_NOFILE, &limit);
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::limit_reached);
  REQUIRE(nothing);
  CHECK_FALSE(*nothing);
  for (u64 n = 0; n < 10; ++n) CHECK(must(sub.wait(60s))->number == n);
}

TEST_CASE("a storage record that makes no sense is an error once, and refuses those who come") {
  using quoit::detail::segment_prefix;
  using quoit::detail::storage_header;
  constexpr std::size_t behind = quoit::detail::storage_header_bytes;
  struct damage {
    std::size_t offset;
    std::string bytes;
    bool seen_by_all = true;  // the ends concern only those who were there before
  };
  const damage all[] = {
      {0, "xxxxxxxx"},
      {offsetof(storage_header, directory), "relative"},
      {offsetof(storage_header, directory), std::string(sizeof(storage_header::directory), '/')},
      {offsetof(storage_header, previous), std::string(8, '\xff')},
      {offsetof(segment_prefix, entry_count), std::string(4, '\xff')},
      {behind, std::string(8, ','), false},
  };
  for (const damage& bad : all) {
    INFO("offset " << bad.offset);
    one_bus on;
    on.fill(on.directory, 0, 1);
    auto sub = on.subscribe();
    auto pub = on.publish_in(on.directory);
    for (const std::string& file : on.name.files()) {
      if (file.back() != 'd') continue;
      const int record = ::open(("/dev/shm/" + file).c_str(), O_RDWR | O_CLOEXEC);
      CHECK(::pwrite(record, bad.bytes.data(), bad.bytes.size(), static_cast<off_t>(bad.offset)) ==
            static_cast<ssize_t>(bad.bytes.size()));
      ::close(record);
    }
    const auto refused = sub.poll();
    REQUIRE_FALSE(refused);
    CHECK_MESSAGE(refused.error() == errc::corrupt, message_of(refused.error()));
    CHECK_FALSE(must(sub.poll()));
    if (!bad.seen_by_all) continue;
    CHECK(has(must(quoit::inspect(on.name.name())).topics.at(0).problem, "remove it"));
    CHECK(on.bus.publisher<checked>("t", on_disk(on.directory, "1")).error() == errc::corrupt);
    CHECK(on.bus.publisher<checked>("t").error() == errc::corrupt);
  }
}
