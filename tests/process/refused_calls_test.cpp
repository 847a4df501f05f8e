// What the library does where the kernel refuses it something that it has no substitute for, or another one.
#include <doctest/doctest.h>

#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>

#include <quoit.hpp>

#include "base/random.hpp"
#include "mem/mapping.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using quoit::errc;

namespace {

bool random_is_refused = false;

constexpr int cannot_run = 77;

// In a mount namespace of its own, with an empty file system at this place.
bool mount_over(const char* where, const char* options) {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", where, "tmpfs", 0, options) == 0;
}

bool says(const quoit::error& e, const char* words) { return e.message().find(words) != std::string::npos; }

int ids_differ() {
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 1000; ++i) {
    for (const std::uint64_t half : quoit::detail::random_id()) {
      if (!seen.insert(half).second) return 1;
    }
  }
  return 0;
}

void check(child& process) {
  const ending how = process.wait();
  if (how.status == cannot_run) QUOIT_SKIP("no mount namespaces here");
  CHECK(how.signal == 0);
  CHECK(how.status == 0);
}

}  // namespace

extern "C" ssize_t getrandom(void* into, size_t bytes, unsigned flags) {
  if (random_is_refused) {
    errno = EPERM;
    return -1;
  }
  return ::syscall(SYS_getrandom, into, bytes, flags);
}

TEST_CASE("where getrandom() is refused, ids come from /dev/urandom, and a bus works") {
  const bus_guard name;
  child process([&] {
    random_is_refused = true;
    auto bus = quoit::bus::open(name.name());
    if (!bus) return 2;
    auto pub = bus->publisher<checked>("t");
    return pub && pub->publish(checked::make(0, 0)) ? ids_differ() : 3;
  });
  check(process);
}

TEST_CASE("without /dev/urandom too, ids differ between calls and between forked processes") {
  child process([] {
    if (!mount_over("/dev", "size=1m")) return cannot_run;
    random_is_refused = true;
    const auto before = quoit::detail::random_id();
    int ends[2];
    if (::pipe(ends) != 0) return 2;
    child forked([&] {
      const auto id = quoit::detail::random_id();
      return ::write(ends[1], id.data(), sizeof id) == sizeof id ? 0 : 1;
    });
    auto theirs = before;
    if (::read(ends[0], theirs.data(), sizeof theirs) != sizeof theirs) return 3;
    const auto ours = quoit::detail::random_id();
    if (theirs[0] == ours[0] || theirs[1] == ours[1] || theirs == before) return 4;
    return ids_differ();
  });
  check(process);
}

TEST_CASE("a /dev/shm without inodes is no space, and says so") {
  const bus_guard name;
  child process([&] {
    // The root has one, and the bus another.
    if (!mount_over("/dev/shm", "size=16m,nr_inodes=2")) return cannot_run;
    auto bus = quoit::bus::open(name.name(), {.transport = quoit::transport::shared_memory});
    if (!bus) return 1;
    const auto pub = bus->publisher<checked>("t");
    if (pub || pub.error() != errc::no_space || !says(pub.error(), "inodes")) return 2;
    const auto other = quoit::bus::open(name.name() + "x", {.transport = quoit::transport::shared_memory});
    return !other && other.error() == errc::no_space && says(other.error(), "inodes") ? 0 : 3;
  });
  check(process);
}

TEST_CASE("where /dev/shm has few inodes left, transport::automatic goes without it") {
  const bus_guard name;
  child process([&] {
    if (!mount_over("/dev/shm", "size=64m,nr_inodes=10")) return cannot_run;
    auto bus = quoit::bus::open(name.name(), {.transport = quoit::transport::automatic});
    if (!bus || bus->transport().used != quoit::transport::kernel) return 1;
    return bus->transport().why.find("inodes") != std::string::npos ? 0 : 2;
  });
  check(process);
}

TEST_CASE("memory that may not be locked, after mlockall(), is refused with the limit to look at") {
  if (under_asan || under_tsan) QUOIT_SKIP("the sanitizer maps more than may be locked");
  child process([] {
    const rlimit little{1 << 20, 1 << 20};
    if (::setrlimit(RLIMIT_MEMLOCK, &little) != 0) return 2;
    // Those with CAP_IPC_LOCK have no limit.
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return cannot_run;
    if (::mlockall(MCL_FUTURE) != 0) return cannot_run;
    const auto memory = quoit::detail::map_private(8 << 20);
    return !memory && says(memory.error(), "RLIMIT_MEMLOCK") ? 0 : 1;
  });
  check(process);
}
