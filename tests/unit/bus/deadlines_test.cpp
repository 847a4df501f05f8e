// A call takes as long as it was told, whatever it has to wait for, and however long that is.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <quoit.hpp>
#include <thread>
#include <vector>

#include "base/call_counts.hpp"
#include "base/file_lock.hpp"
#include "mem/shm_file.hpp"
#include "quoit/detail/lane_layout.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

TEST_CASE("a wait ends in time while another process writes nonsense where a publisher says what it has reserved") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin}) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), {.wait = how}).value();
    auto pub = bus.publisher<checked>("t", {.policy = quoit::policy::overwrite}).value();
    auto sub = bus.subscriber<checked>("t").value();
    REQUIRE(pub.publish(checked::make(0, 0)));
    REQUIRE(sub.wait().has_value());
    const int file = ::open(("/dev/shm/quoit." + name.name() + ".t@1").c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(file >= 0);
    void* const page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    REQUIRE(page != MAP_FAILED);
    auto& head = *static_cast<quoit::detail::lane_header*>(page);
    // Several strides, at the end of each of which a reader looks there.
    for (std::uint64_t n = 1; n < 500; ++n) {
      REQUIRE(pub.publish(checked::make(0, n)));
      quoit::detail::store_relaxed(head.reserved, std::uint64_t{1} << 60);
      // Whatever it says, it says something; and so does the next one, for which there is no message.
      static_cast<void>(sub.wait(1us));
      const auto none = sub.wait(1us);
      if (!none) CHECK((none.error() == errc::timed_out || none.error() == errc::corrupt));
    }
    ::munmap(page, 4096);
    ::close(file);
  }
}

TEST_CASE("opening a bus waits once for the lock of a topic, however many of the dead are in it") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  {
    // All of them live until all are there: none cleans up after another.
    std::vector<std::unique_ptr<quoit::test::child>> victims;
    for (std::uint32_t i = 0; i < 10; ++i) {
      victims.push_back(std::make_unique<quoit::test::child>([&] {
        auto mine = quoit::bus::open(name.name()).value();
        auto sub = mine.subscriber<checked>("t").value();
        for (;;) ::pause();
        return 0;
      }));
      until([&] { return pub.subscribers() == i + 1; });
    }
  }
  // As a process holds it that was stopped while it opened the topic.
  const quoit::detail::fd held = quoit::detail::open_file("/dev/shm/quoit." + name.name() + ".t", O_RDWR);
  REQUIRE(quoit::detail::try_lock(held.get(), quoit::detail::shm_lock_byte) == quoit::detail::lock_status::taken);
  // So many pauses of 5 ms are in one timeout, and some shorter ones.
  constexpr auto timeout = 200ms;
  constexpr std::uint64_t pauses_of_one = timeout / 5ms + 12;
  const auto& pauses = quoit::detail::calls_made.sleeps;
  const std::uint64_t before = pauses;
  const auto late = quoit::bus::open(name.name(), {.lock_timeout = timeout});
  CHECK(late.has_value());
  CHECK(pauses - before <= pauses_of_one);
}

TEST_CASE("on the kernel path a publisher goes at once when its messages were all taken") {
  for (const auto policy : {quoit::policy::block, quoit::policy::overwrite, quoit::policy::fail}) {
    for (const auto mode : {quoit::mode::automatic, quoit::mode::lossy, quoit::mode::observer}) {
      for (const int messages : {0, 1, 100}) {
        const bus_guard name;
        // What is not taken is waited for so long.
        const quoit::bus_options patient{.transport = quoit::transport::kernel, .lock_timeout = 1h};
        auto other = quoit::bus::open(name.name(), patient).value();
        auto bus = std::make_optional(quoit::bus::open(name.name(), patient).value());
        auto pub = std::make_optional(bus->publisher<checked>("t", {.policy = policy}).value());
        auto sub = other.subscriber<checked>("t", {.mode = mode}).value();
        for (std::uint64_t n = 0; n < static_cast<std::uint64_t>(messages); ++n) {
          REQUIRE(pub->publish(checked::make(0, n)));
          REQUIRE(sub.wait().value()->number == n);
        }
        pub.reset();
        bus.reset();
      }
    }
  }
}

TEST_CASE("times that no clock can say are as long as there are") {
  constexpr auto for_ever = std::chrono::hours::max();
  const bus_guard name;
  const scratch_directory directory;
  const quoit::bus_options options{.spin_max = for_ever, .recheck = for_ever, .lock_timeout = for_ever};
  auto bus = quoit::bus::open(name.name(), options).value();
  auto other = quoit::bus::open(name.name(), options).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = other.subscriber<checked>("t").value();
  auto next = other.subscriber<checked>("u").value();
  std::thread publishes([&] {
    std::this_thread::sleep_for(5ms);
    CHECK(pub.publish_for(checked::make(0, 0), for_ever));
  });
  CHECK(sub.wait(for_ever).value()->number == 0);
  publishes.join();
  CHECK(pub.loan_for(for_ever).has_value());
  CHECK(pub.flush_for(for_ever).has_value());
  CHECK(sub.wait(1ms).error() == errc::timed_out);
  CHECK(other.wait_any(1ms, sub, next).error() == errc::timed_out);
  CHECK(sub.wait(-for_ever).error() == errc::timed_out);
  const quoit::publisher_options on_disk{.directory = directory.path(),
                                         .durability = quoit::durability::interval,
                                         .flush_interval = for_ever,
                                         .segment_bytes = 64 << 10,
                                         .retention_age = for_ever};
  auto kept = bus.publisher<checked>("kept", on_disk).value();
  for (std::uint64_t n = 0; n < 2000; ++n) CHECK(kept.publish_for(checked::make(0, n), for_ever));
  CHECK(kept.flush_for(for_ever).has_value());
  // Nothing of it is as old as that.
  auto replay = quoit::replay<checked>::open(directory.path(), "kept").value();
  CHECK(replay.poll().value()->number == 0);
  auto late = quoit::replay<checked>::open(
      directory.path(), "kept",
      {.start = quoit::start::time(std::chrono::sys_time<std::chrono::hours>(std::chrono::hours::max()))});
  REQUIRE(late.has_value());
  CHECK(!late->poll().value());
}
