#include "base/fork_guard.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>

#include "base/file_lock.hpp"
#include "support/child.hpp"

using namespace quoit::detail;
using quoit::test::child;

namespace {

// A guarded descriptor that holds a byte, and another description to look with.
struct held_byte {
  fd file{::memfd_create("quoit-test", MFD_CLOEXEC)};
  fd probe = open();
  guarded_fd guarded = guarded_fd::opened_by([this] { return open(); });

  held_byte() { REQUIRE(try_lock(guarded.get(), 0) == lock_status::taken); }
  fd open() const { return fd(::open(("/proc/self/fd/" + std::to_string(file.get())).c_str(), O_RDWR | O_CLOEXEC)); }
  bool held() const { return held_by_other(probe.get(), 0, 1); }
};

bool is_open(int descriptor) { return ::fcntl(descriptor, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("a forked child has no guarded descriptor, and its parent keeps the lock") {
  held_byte byte;
  const std::uint32_t epoch = fork_epoch;
  child forked([&] {
    if (is_open(byte.guarded.get())) return 1;
    if (fork_epoch == epoch) return 2;
    // Its number may be somebody else's by now: it is not closed again.
    const int reused = ::fcntl(byte.probe.get(), F_DUPFD, byte.guarded.get());
    if (reused != byte.guarded.get()) return 3;
    byte.guarded.reset();
    return is_open(reused) ? 0 : 4;
  });
  CHECK(forked.wait().status == 0);
  CHECK(fork_epoch == epoch);
  CHECK(byte.held());
}

TEST_CASE("a lock goes with its owner, though somebody has a copy of the descriptor") {
  held_byte byte;
  const fd copy(::dup(byte.guarded.get()));  // as a process has that is about to exec
  byte.guarded.reset();
  CHECK_FALSE(byte.held());
}

TEST_CASE("a guarded descriptor that was moved is guarded still") {
  held_byte byte;
  guarded_fd moved = std::move(byte.guarded);
  CHECK_FALSE(static_cast<bool>(byte.guarded));
  child forked([&] { return is_open(moved.get()) ? 1 : 0; });
  CHECK(forked.wait().status == 0);
  CHECK(byte.held());
  moved = guarded_fd();
  CHECK_FALSE(byte.held());
}

TEST_CASE("what could not be opened is not guarded") {
  const guarded_fd none = guarded_fd::opened_by([] { return fd(); });
  CHECK_FALSE(static_cast<bool>(none));
}
