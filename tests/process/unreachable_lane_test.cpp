// A publisher comes whose lane a subscriber cannot open: for want of rights, or of descriptors.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>

#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

TEST_CASE("a lane that its publisher lets nobody open is an error once, and the other lanes go on") {
  if (::geteuid() != 0) QUOIT_SKIP("only root can become another user");
  const bus_guard name;
  auto open = quoit::bus::open(name.name(), {.permissions = 0666}).value();
  auto pub = open.publisher<checked>("t").value();
  auto shut = quoit::bus::open(name.name(), {.permissions = 0600}).value();
  child stranger([&] {
    if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) return 77;
    auto mine = quoit::bus::open(name.name()).value();
    auto sub = mine.subscriber<checked>("t").value();
    const auto refused = sub.wait(60s);
    if (refused || refused.error() != errc::no_permission) return 1;
    if (refused.error().message().find("permissions") == std::string::npos) return 2;
    for (std::uint64_t n = 0; n < 3; ++n) {
      const auto s = sub.wait(60s);
      if (!s || (*s)->number != n) return 3;
    }
    return 0;
  });
  until([&] { return pub.subscribers() == 1; });
  auto closed_off = shut.publisher<checked>("t").value();
  for (std::uint64_t n = 0; n < 3; ++n) REQUIRE(pub.publish(checked::make(0, n)));
  CHECK(stranger.wait().status == 0);
}

TEST_CASE("a lane that could not be opened for want of descriptors is read from its first message later") {
  const bus_guard name;
  child poor([&] {
    auto bus = quoit::bus::open(name.name()).value();
    auto sub = bus.subscriber<checked>("t").value();
    auto other = quoit::bus::open(name.name()).value();
    auto pub = other.publisher<checked>("t").value();
    for (std::uint64_t n = 0; n < 5; ++n) {
      if (!pub.publish(checked::make(0, n))) return 1;
    }
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const rlimit none{0, limit.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    const auto refused = sub.poll();
    if (refused || refused.error() != errc::limit_reached || refused.error().system_errno() != EMFILE) return 2;
    if (refused.error().message().find("ulimit") == std::string::npos) return 3;
    const auto nothing = sub.poll();
    if (!nothing || *nothing) return 4;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    for (std::uint64_t n = 0; n < 5; ++n) {
      const auto s = sub.poll();
      if (!s || !*s || (*s)->number != n) return 5;
    }
    return 0;
  });
  CHECK(poor.wait().status == 0);
  {
    auto last = quoit::bus::open(name.name()).value();
  }
}

TEST_CASE("a publisher without descriptors takes no lane from its readers when it closes") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto sub = bus.subscriber<checked>("t").value();
  child poor([&] {
    auto mine = quoit::bus::open(name.name()).value();
    {
      auto pub = mine.publisher<checked>("t").value();
      for (std::uint64_t n = 0; n < 5; ++n) {
        if (!pub.publish(checked::make(0, n))) return 1;
      }
      rlimit limit{};
      ::getrlimit(RLIMIT_NOFILE, &limit);
      limit.rlim_cur = 0;
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    return 0;
  });
  CHECK(poor.wait().status == 0);
  for (std::uint64_t n = 0; n < 5; ++n) CHECK(sub.wait(60s).value()->number == n);
}
