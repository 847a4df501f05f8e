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

TEST_CASE("a forked child has no descriptor of its parent's, guarded or not, and its parent keeps the lock") {
  held_byte byte;
  const std::uint32_t epoch = fork_epoch;
  const int numbers[] = {byte.guarded.get(), byte.probe.get(), byte.file.get()};
  child forked([&] {
    for (const int number : numbers) {
      if (is_open(number)) return 1;
    }
    if (byte.guarded || byte.probe || byte.file) return 2;
    if (fork_epoch == epoch) return 3;
    // The numbers may be somebody else's by now: they are not closed again.
    for (const int number : numbers) {
      if (::dup2(0, number) != number) return 4;
    }
    byte.guarded.reset();
    byte.probe.reset();
    for (const int number : numbers) {
      if (!is_open(number)) return 5;
    }
    return 0;
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

TEST_CASE("a descriptor that was moved, or put into another place, is closed in a child; one that stays is not") {
  fd first = open_file("/dev/null", O_RDONLY);
  fd second = std::move(first);
  fd third = open_file("/dev/zero", O_RDONLY);
  third = std::move(second);
  fd stays = open_file("/dev/null", O_RDONLY);
  stays.stay_open_in_children();
  fd moved = std::move(stays);
  const int closed = third.get();
  const int open = moved.get();
  const int released = duplicate(open).release();
  child forked([&] {
    if (is_open(closed) || third) return 1;
    if (!is_open(open) || moved.get() != open || !is_open(released)) return 2;
    moved.reset();
    return is_open(open) ? 3 : 0;
  });
  CHECK(forked.wait().status == 0);
  CHECK(is_open(closed));
  ::close(released);
}

TEST_CASE("what could not be opened is not guarded") {
  const guarded_fd none = guarded_fd::opened_by([] { return fd(); });
  CHECK_FALSE(static_cast<bool>(none));
}
