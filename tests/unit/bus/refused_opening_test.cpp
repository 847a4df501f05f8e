// What is refused leaves nothing behind: no directory, no file of a lane or a subscription, no topic on the bus.
#include <doctest/doctest.h>

#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <quoit.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/disk_fixture.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

// Directories, and files but for segments, which a living publisher makes ahead.
std::vector<std::string> names_below(const std::string& path) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.path().extension() != ".seg") names.push_back(entry.path());
  }
  std::sort(names.begin(), names.end());
  return names;
}

struct refusals {
  good_disk disk;
  bus_guard name;
  scratch_directory directory;
  scratch_directory other;
  quoit::bus bus = must(quoit::bus::open(name.name()));

  quoit::publisher_options publisher(const char* lane = "0") const { return on_disk(directory, lane); }
  quoit::subscriber_options subscriber(const char* named = "") const {
    quoit::subscriber_options o;
    o.directory = directory.path();
    o.subscription_name = named;
    return o;
  }
  std::vector<std::string> all() const {
    auto names = names_below(directory.path());
    auto files = name.files();
    std::sort(files.begin(), files.end());
    names.insert(names.end(), files.begin(), files.end());
    return names;
  }

  // When no file is being made: the helper thread of a publisher that lives makes its next one at any time.
  std::vector<std::string> settled() const {
    const auto in_the_making = [](const std::string& name) { return name.find("/.making-") != std::string::npos; };
    for (;;) {
      auto names = all();
      if (std::none_of(names.begin(), names.end(), in_the_making)) return names;
      std::this_thread::sleep_for(1ms);
    }
  }

  // Opens a publisher or a subscriber of T, at once and in a loop.
  template <class T>
  void refuse(errc why, const quoit::publisher_options& o, const char* topic = "t") {
    const auto before = settled();
    const auto refused = bus.publisher<T>(topic, o);
    REQUIRE_FALSE(refused);
    CHECK_MESSAGE(refused.error() == why, message_of(refused.error()));
    CHECK(settled() == before);
    in_a_loop([&](quoit::bus& b) -> quoit::task<> {
      auto opened = co_await b.publisher_async<T>(topic, o);
      CHECK_FALSE(opened);
      if (!opened) CHECK_MESSAGE(opened.error() == why, message_of(opened.error()));
    });
    CHECK(settled() == before);
  }
  template <class T>
  void refuse(errc why, const quoit::subscriber_options& o, const char* topic = "t") {
    const auto before = settled();
    const auto refused = bus.subscriber<T>(topic, o);
    REQUIRE_FALSE(refused);
    CHECK_MESSAGE(refused.error() == why, message_of(refused.error()));
    CHECK(settled() == before);
    in_a_loop([&](quoit::bus& b) -> quoit::task<> {
      auto opened = co_await b.subscriber_async<T>(topic, o);
      CHECK_FALSE(opened);
      if (!opened) CHECK_MESSAGE(opened.error() == why, message_of(opened.error()));
    });
    CHECK(settled() == before);
  }

 private:
  void in_a_loop(const std::function<quoit::task<>(quoit::bus&)>& what) {
    auto executor = must(quoit::executor::create());
    auto b = must(quoit::bus::open(executor, name.name()));
    executor.run(what(b));
  }
};

}  // namespace

TEST_CASE("a publisher or subscriber that the topic refuses makes nothing in its directory") {
  refusals on;
  const quoit::topic_limits one{.publishers_max = 1, .subscriptions_max = 1};
  SUBCASE("for its type") {
    const auto keeps = must(on.bus.subscriber<double>("t"));
    on.refuse<checked>(errc::type_mismatch, on.publisher());
    on.refuse<checked>(errc::type_mismatch, on.subscriber());
    on.refuse<checked>(errc::type_mismatch, on.subscriber("named"));
  }
  SUBCASE("for a publisher in memory") {
    const auto keeps = must(on.bus.publisher<checked>("t"));
    on.refuse<checked>(errc::policy_conflict, on.publisher());
    on.refuse<checked>(errc::policy_conflict, on.subscriber());
    on.refuse<checked>(errc::policy_conflict, on.subscriber("named"));
  }
  SUBCASE("for somebody in another directory") {
    const auto keeps = must(on.bus.publisher<checked>("t", on_disk(on.other)));
    on.refuse<checked>(errc::policy_conflict, on.publisher());
    on.refuse<checked>(errc::policy_conflict, on.subscriber("named"));
  }
  SUBCASE("for its tables") {
    quoit::publisher_options o = on.publisher();
    o.limits = one;
    const auto keeps = must(on.bus.publisher<checked>("t", o));
    const auto reads = must(on.bus.subscriber<checked>("t", on.subscriber()));
    on.refuse<checked>(errc::limit_reached, on.publisher("1"));
    on.refuse<checked>(errc::limit_reached, on.subscriber("named"));
  }
}

TEST_CASE("a publisher that its disk refuses leaves no lane") {
  refusals on;
  disk_full = true;
  on.refuse<checked>(errc::no_space, on.publisher());
  disk_full = false;
  const auto keeps = must(on.bus.publisher<checked>("t", on.publisher()));
  disk_full = true;
  on.refuse<checked>(errc::no_space, on.publisher("1"));
  disk_full = false;
  // One that somebody holds is not that of whoever is refused.
  on.refuse<checked>(errc::busy, on.publisher());
}

TEST_CASE("bad options and names make nothing on the disk") {
  refusals on;
  quoit::publisher_options o = on.publisher("no/lane");
  on.refuse<checked>(errc::invalid_name, o);
  o = on.publisher();
  o.retention_age = -1ns;
  on.refuse<checked>(errc::invalid_argument, o);
  o = on.publisher();
  o.limits.publishers_max = 0;
  on.refuse<checked>(errc::invalid_argument, o);
  on.refuse<checked>(errc::invalid_name, on.publisher(), "..");
  on.refuse<checked>(errc::invalid_name, on.publisher(), "a//b");
  on.refuse<checked>(errc::invalid_name, on.subscriber(), "..");
  on.refuse<checked>(errc::invalid_name, on.subscriber("no/name"));
  quoit::subscriber_options s = on.subscriber();
  s.samples_max = 0;
  on.refuse<checked>(errc::invalid_argument, s);
  s = on.subscriber("named");
  s.mode = quoit::mode::observer;
  on.refuse<checked>(errc::invalid_argument, s);
  const std::string missing = on.directory.path() + "/missing/deep";
  o = on.publisher();
  o.directory = missing;
  on.refuse<checked>(errc::not_found, o);
  s = on.subscriber();
  s.directory = missing;
  on.refuse<checked>(errc::not_found, s);
}

TEST_CASE("a directory that somebody else began to use stays, and so does what was there before") {
  refusals on;
  {
    auto pub = must(on.bus.publisher<checked>("t", on.publisher()));
    publish_all(pub, 0, 3);
  }
  on.refuse<double>(errc::type_mismatch, on.publisher());
  on.refuse<double>(errc::type_mismatch, on.subscriber("named"));
  CHECK(count_in(on.directory) == 3);
  auto held = must(on.bus.subscriber<checked>("t", on.subscriber("named")));
  on.refuse<checked>(errc::busy, on.subscriber("named"));
}

TEST_CASE("a publisher on disk that runs out of descriptors at any point leaves nothing, and the next one comes") {
  refusals on;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  bool came = false;
  for (rlim_t left = 0; left < 60 && !came; ++left) {
    const auto before = on.all();
    const int next = ::dup(0);
    ::close(next);
    const rlimit few{static_cast<rlim_t>(next) + left, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &few);
    auto opened = on.bus.publisher<checked>("t", on.publisher());
    ::setrlimit(RLIMIT_NOFILE, &limit);
    came = opened.has_value();
    if (came) break;
    CHECK_MESSAGE(opened.error() == errc::limit_reached, left, " left: ", message_of(opened.error()));
    CHECK_MESSAGE(on.all() == before, left, " left");
  }
  CHECK(came);
}
