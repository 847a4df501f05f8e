#include "base/file_lock.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>

#include <thread>

#include "base/fd.hpp"

using namespace quoit::detail;
using namespace std::chrono_literals;

namespace {

// A file without a name, and descriptions of it.
struct nameless {
  fd first{::memfd_create("quoit-test", MFD_CLOEXEC)};
  fd another() const {
    return fd(::open(("/proc/self/fd/" + std::to_string(first.get())).c_str(), O_RDWR | O_CLOEXEC));
  }
};

}  // namespace

TEST_CASE("a byte that another description holds is not granted, its neighbours are") {
  const nameless file;
  const fd other = file.another();
  REQUIRE(try_lock(file.first.get(), 7) == lock_status::taken);
  CHECK(try_lock(other.get(), 7) == lock_status::held_by_other);
  CHECK(try_lock(other.get(), 6) == lock_status::taken);
  CHECK(try_lock(other.get(), 8) == lock_status::taken);
}

TEST_CASE("a description does not see the lock that it holds") {
  const nameless file;
  const fd other = file.another();
  REQUIRE(try_lock(file.first.get(), 7) == lock_status::taken);
  CHECK_FALSE(held_by_other(file.first.get(), 7, 1));
  CHECK(held_by_other(other.get(), 7, 1));
}

TEST_CASE("one held byte is found in a range") {
  const nameless file;
  const fd other = file.another();
  REQUIRE(try_lock(file.first.get(), 500) == lock_status::taken);
  CHECK(held_by_other(other.get(), 0, 1024));
  CHECK_FALSE(held_by_other(other.get(), 0, 500));
  CHECK_FALSE(held_by_other(other.get(), 501, 1024));
}

TEST_CASE("a lock goes when it is given back, and when its description is closed") {
  nameless file;
  const fd other = file.another();
  REQUIRE(try_lock(file.first.get(), 7) == lock_status::taken);
  unlock(file.first.get(), 7);
  CHECK_FALSE(held_by_other(other.get(), 7, 1));
  fd third = file.another();
  REQUIRE(try_lock(third.get(), 7) == lock_status::taken);
  third.reset();
  CHECK_FALSE(held_by_other(other.get(), 7, 1));
}

TEST_CASE("a lock that is waited for is granted once it is free, or not at all when the time is over") {
  const nameless file;
  const fd other = file.another();
  REQUIRE(try_lock(file.first.get(), 7) == lock_status::taken);
  CHECK(lock(other.get(), 7, 2ms) == lock_status::held_by_other);
  CHECK(lock(other.get(), 7, -1ns) == lock_status::held_by_other);
  std::thread owner([&] {
    std::this_thread::sleep_for(2ms);
    unlock(file.first.get(), 7);
  });
  CHECK(lock(other.get(), 7, 1h) == lock_status::taken);
  owner.join();
}

TEST_CASE("a descriptor that is none fails, and counts as held: nothing is cleaned up on a guess") {
  CHECK(try_lock(-1, 7) == lock_status::failed);
  CHECK(held_by_other(-1, 7, 1));
}

TEST_CASE("all locks that a call waits for take together no longer than its limit") {
  const nameless file;
  const fd other = file.another();
  for (const off_t byte : {1, 2, 3}) REQUIRE(try_lock(file.first.get(), byte) == lock_status::taken);
  CHECK(lock_wait_limit::left(7s) == 7s);
  {
    const lock_wait_limit limit(20ms);
    CHECK(lock_wait_limit::left(7s) == 20ms);
    // What is free is taken, and costs nothing of it.
    CHECK(lock(other.get(), 9, 60s) == lock_status::taken);
    CHECK(lock_wait_limit::left(7s) == 20ms);
    // A limit within is none.
    const lock_wait_limit inner(60s);
    CHECK(lock(other.get(), 1, 60s) == lock_status::held_by_other);
    CHECK(lock_wait_limit::left(7s) == 0s);
    // These would take two minutes.
    CHECK(lock(other.get(), 2, 60s) == lock_status::held_by_other);
    CHECK(lock(other.get(), 3, 60s) == lock_status::held_by_other);
    CHECK(lock(other.get(), 10, 60s) == lock_status::taken);
  }
  CHECK(lock_wait_limit::left(7s) == 7s);
  {
    const lock_wait_limit limit(60s);
    CHECK(lock(other.get(), 1, 5ms) == lock_status::held_by_other);
    CHECK(lock_wait_limit::left(7s) <= 60s - 5ms);
  }
}
