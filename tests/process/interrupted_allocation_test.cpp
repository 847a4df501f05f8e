// Memory and files are allocated in a process that a timer interrupts all the time.
//
// fallocate() of kernels before 6.9, in the place of this one's: on tmpfs a signal takes back what the call has
// allocated. A signal comes for each 256 KiB.
#include <doctest/doctest.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>

#include "base/allocate.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;

namespace {

constexpr off_t between_signals = 256 << 10;
std::atomic<off_t> until_next_signal{between_signals};
std::atomic<int> interrupted{0};
std::atomic<bool> old_kernel{false};

}  // namespace

extern "C" int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  if (old_kernel && mode == 0) {
    if (bytes > until_next_signal) {
      until_next_signal = between_signals;
      ++interrupted;
      errno = EINTR;
      return -1;
    }
    until_next_signal -= bytes;
  }
  return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes));
}

namespace {

struct with_old_kernel {
  with_old_kernel() {
    old_kernel = true;
    interrupted = 0;
  }
  ~with_old_kernel() { old_kernel = false; }
};

constexpr std::uint64_t large = 64 << 20;

bool publishes(quoit::bus& bus) {
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = large});
  return pub && pub->publish(checked::make(0, 0));
}

}  // namespace

TEST_CASE("a range is allocated in pieces that fit between two signals, all of it") {
  const with_old_kernel old;
  const int memory = ::memfd_create("quoit-test", MFD_CLOEXEC);
  for (const off_t bytes : {off_t{1}, off_t{4096}, off_t{1} << 20, off_t{5'000'001}}) {
    REQUIRE(::ftruncate(memory, 0) == 0);
    CHECK(quoit::detail::allocate_range(memory, 8192, bytes) == 0);
    struct stat status{};
    REQUIRE(::fstat(memory, &status) == 0);
    CHECK(status.st_size == 8192 + bytes);
    CHECK(status.st_blocks * 512 >= bytes);
  }
  CHECK(interrupted > 0);
  CHECK(quoit::detail::allocate_range(memory, -1, 1) == EINVAL);
  ::close(memory);
}

TEST_CASE("large lanes are made: in shared memory, in inherited memory, sealed, and on disk") {
  const with_old_kernel old;
  {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    CHECK(publishes(bus));
  }
  for (const bool sealed : {false, true}) {
    const auto memory = quoit::inherited_memory::create({.bytes = 2 * large, .sealed = sealed}).value();
    auto bus = quoit::bus::open(memory).value();
    CHECK(publishes(bus));
  }
  {
    const bus_guard name;
    const scratch_directory directory;
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t", {.directory = directory.path(), .segment_bytes = large});
    REQUIRE(pub);
    CHECK(pub->publish_for(checked::make(0, 0), 60s));
  }
  CHECK(interrupted > 0);
}

TEST_CASE("a large lane is made under a timer, by this kernel as it is") {
  child process([] {
    struct sigaction handler{};
    static volatile sig_atomic_t ticks = 0;
    handler.sa_handler = [](int) { ticks = ticks + 1; };
    ::sigaction(SIGALRM, &handler, nullptr);
    const itimerval often{{0, 2000}, {0, 2000}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    return publishes(bus) && ticks > 0 ? 0 : 1;
  });
  CHECK(process.wait().status == 0);
}
