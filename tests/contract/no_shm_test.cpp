// A machine whose /dev/shm cannot be used: in a mount namespace of a child's own.
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

}  // namespace

TEST_CASE("automatic takes the kernel path where /dev/shm is full, and says so") {
  const meeting here(transport::automatic);
  child c([&] { return in_a_world_with(here, 0, "size=64k", "is full"); });
  const int status = c.wait().status;
  if (status == cannot) QUOIT_SKIP("no mount namespace is to be had here");
  CHECK(status == 0);
}

TEST_CASE("automatic takes the kernel path where /dev/shm is read-only, and says so") {
  const meeting here(transport::automatic);
  child c([&] { return in_a_world_with(here, MS_RDONLY, "size=16m", "/dev/shm"); });
  const int status = c.wait().status;
  if (status == cannot) QUOIT_SKIP("no mount namespace is to be had here");
  CHECK(status == 0);
}
