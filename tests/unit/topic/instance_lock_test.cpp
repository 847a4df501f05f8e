#include "topic/instance_lock.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>

#include <string>
#include <thread>

#include "base/fd.hpp"
#include "base/file_lock.hpp"
#include "support/child.hpp"
#include "support/test_names.hpp"

using namespace quoit::detail;
using namespace std::chrono_literals;

namespace {

// A file of /dev/shm without a name.
fd nameless() { return fd(::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)); }

}  // namespace

TEST_CASE("an instance that another process is on is seen until it is left") {
  const std::string bus = quoit::test::unique_bus_name();
  const fd file = nameless();
  const auto asking = instance_lock::on_none(bus);
  REQUIRE(asking);
  CHECK_FALSE(asking->other());
  auto held = instance_lock::on(bus, file.get());
  REQUIRE(held);
  REQUIRE(asking->other());
  CHECK_FALSE(asking->wait_until_left(*asking->other(), 2ms));
  held->reset();
  CHECK_FALSE(asking->other());
}

TEST_CASE("nodes of one instance are no others to each other, and a node of another instance is") {
  const std::string bus = quoit::test::unique_bus_name();
  const fd one = nameless(), another = nameless();
  auto first = instance_lock::on(bus, one.get());
  auto second = instance_lock::on(bus, one.get());
  REQUIRE(first);
  REQUIRE(second);
  CHECK_FALSE(first->other());
  CHECK_FALSE(second->other());
  auto elsewhere = instance_lock::on(bus, another.get());
  REQUIRE(elsewhere);
  CHECK(first->other());
  CHECK(second->other());
  CHECK(elsewhere->other());
  CHECK(*first->other() == *second->other());
  CHECK(*first->other() != *elsewhere->other());
}

TEST_CASE("an instance of another bus is not seen") {
  const fd file = nameless();
  const std::string bus = quoit::test::unique_bus_name();
  const auto held = instance_lock::on(bus + "a", file.get());
  const auto asking = instance_lock::on_none(bus + "b");
  REQUIRE(held);
  REQUIRE(asking);
  CHECK_FALSE(asking->other());
}

TEST_CASE("an instance that is left while somebody waits for that is waited for") {
  const std::string bus = quoit::test::unique_bus_name();
  const fd file = nameless();
  auto held = instance_lock::on(bus, file.get());
  const auto asking = instance_lock::on_none(bus);
  REQUIRE(held);
  REQUIRE(asking);
  const auto instance = asking->other();
  REQUIRE(instance);
  std::thread leaves([&] {
    std::this_thread::sleep_for(5ms);
    held->reset();
  });
  CHECK(asking->wait_until_left(*instance, 1h));
  leaves.join();
}

TEST_CASE("a call that waits for several instances waits no longer than its limit for all of them") {
  const std::string bus = quoit::test::unique_bus_name();
  const fd one = nameless(), another = nameless();
  const auto first = instance_lock::on(bus, one.get());
  const auto second = instance_lock::on(bus, another.get());
  REQUIRE(first);
  REQUIRE(second);
  const lock_wait_limit limit(5ms);
  // Two hours without the limit.
  CHECK_FALSE(first->wait_until_left(*first->other(), 1h));
  CHECK_FALSE(second->wait_until_left(*second->other(), 1h));
  CHECK(lock_wait_limit::left(1h) == 0ns);
}

TEST_CASE("a forked child does not keep its parent's instance, and does not take it from the parent") {
  const std::string bus = quoit::test::unique_bus_name();
  const fd file = nameless();
  auto held = instance_lock::on(bus, file.get());
  const auto asking = instance_lock::on_none(bus);
  REQUIRE(held);
  REQUIRE(asking);
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  {
    quoit::test::child forked([&] {
      held->reset();
      if (::write(ready[1], "x", 1) != 1) return 1;
      for (;;) ::pause();
      return 0;
    });
    char c;
    REQUIRE(::read(ready[0], &c, 1) == 1);
    CHECK(asking->other());
    held->reset();
    CHECK_FALSE(asking->other());
  }
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_CASE("what is no file is no instance") {
  CHECK(instance_lock::on(quoit::test::unique_bus_name(), -1).error() == quoit::errc::system);
}
