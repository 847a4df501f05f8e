// A machine whose /dev/shm cannot be used: in a mount namespace of a child's own.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include "contract/ways.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::transport;

namespace {

constexpr int cannot = 77;

// What `automatic` says where /dev/shm was mounted anew; a message must go through.
int in_a_world_with(const meeting& here, unsigned long flags, const char* mount_options, const char* words) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/dev/shm", "tmpfs", flags, mount_options) != 0) {
    return cannot;
  }
  if (quoit::bus::open(here.name(), {.transport = transport::shared_memory}).has_value() && flags != 0) return 1;
  auto bus = quoit::bus::open(here.name(), {.transport = transport::automatic});
  if (!bus) return 2;
  const auto way = bus->transport();
  if (way.used != transport::kernel || way.why.find(words) == std::string::npos) return 3;
  auto pub = bus->publisher<checked>("t");
  auto sub = bus->subscriber<checked>("t");
  if (!pub || !sub || !pub->publish(checked::make(1, 1))) return 4;
  const auto got = sub->wait(10s);
  return got && (*got)->number == 1 && pub->transport().why == way.why ? 0 : 5;
}

// /dev/shm is large enough for the bus, and fills up later.
int in_a_world_that_fills_up(const meeting& here) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=4m") != 0) {
    return cannot;
  }
  auto bus = quoit::bus::open(here.name(), {.transport = transport::automatic});
  if (!bus || bus->transport().used != transport::shared_memory) return 1;
  auto pub = bus->publisher<checked>("t");
  if (!pub) return 2;
  const int filler = ::open("/dev/shm/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const std::string some(64 * 1024, 'x');
  while (::write(filler, some.data(), some.size()) > 0) {
  }
  if (::ftruncate(filler, ::lseek(filler, 0, SEEK_END) - 65536) != 0) return 3;

  // Who comes now must meet those who are there.
  auto other = quoit::bus::open(here.name(), {.transport = transport::automatic});
  if (!other || other->transport().used != transport::shared_memory) return 4;
  auto sub = other->subscriber<checked>("t");
  if (!sub || !pub->publish(checked::make(1, 1)) || (*sub->wait(10s))->number != 1) return 5;
  const auto refused = other->publisher<checked>("t");
  if (refused || refused.error() != quoit::errc::no_space) return 6;
  for (const char* words :
       {"/dev/shm has ", " of its 4194304 bytes free", "QUOIT_TRANSPORT=kernel", "capacity_bytes"}) {
    if (refused.error().message().find(words) == std::string::npos) return 7;
  }
  return 0;
}

}  // namespace

TEST_CASE("automatic takes the kernel path where /dev/shm is full, and says so") {
  const meeting here(transport::automatic);
  child c([&] { return in_a_world_with(here, 0, "size=64k", "is full"); });
  const int status = c.wait().status;
  if (status == cannot) QUOIT_SKIP("no mount namespace is to be had here");
  CHECK(status == 0);
}

TEST_CASE("where /dev/shm fills up later, automatic meets who is there, and a publisher is told what there is") {
  const meeting here(transport::automatic);
  child c([&] { return in_a_world_that_fills_up(here); });
  const int status = c.wait().status;
  if (status == cannot) QUOIT_SKIP("no mount namespace is to be had here");
  CHECK(status == 0);
}

TEST_CASE("automatic meets the living on the kernel path, whatever the dead left in shared memory") {
  meeting here(transport::kernel);
  here.expect_leftovers();
  auto options = here.options();
  options.transport = transport::shared_memory;
  child dies([&]() -> int {
    auto bus = quoit::bus::open(here.name(), options).value();
    ::raise(SIGKILL);
    return 0;
  });
  dies.wait();
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  options.transport = transport::automatic;
  auto other = quoit::bus::open(here.name(), options).value();
  CHECK(other.transport().used == transport::kernel);
  auto sub = other.subscriber<checked>("t").value();
  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait(10s).value()->number == 1);
}

TEST_CASE("automatic takes the kernel path where /dev/shm is read-only, and says so") {
  const meeting here(transport::automatic);
  child c([&] { return in_a_world_with(here, MS_RDONLY, "size=16m", "/dev/shm"); });
  const int status = c.wait().status;
  if (status == cannot) QUOIT_SKIP("no mount namespace is to be had here");
  CHECK(status == 0);
}
