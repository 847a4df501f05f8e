// Ending a wait from a signal handler, or from another thread. A signal alone ends none.
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "contract/ways.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

std::atomic<quoit::bus*> bus_of_handler{nullptr};
std::atomic<int> handled{0};
std::atomic<bool> errno_was_kept{true};

void interrupt_the_bus(int) {
  errno = 12345;
  if (quoit::bus* const bus = bus_of_handler) bus->interrupt();
  if (errno != 12345) errno_was_kept = false;
  ++handled;
}

void only_count(int) { ++handled; }

// Handles SIGUSR1 for as long as it lives, and does not ask the kernel to restart calls.
class handler {
 public:
  explicit handler(void (*function)(int)) {
    struct sigaction action{};
    action.sa_handler = function;
    ::sigaction(SIGUSR1, &action, &before_);
    handled = 0;
  }
  ~handler() {
    bus_of_handler = nullptr;
    ::sigaction(SIGUSR1, &before_, nullptr);
  }
  handler(const handler&) = delete;
  handler& operator=(const handler&) = delete;

 private:
  struct sigaction before_{};
};

// Another thread, that does something again and again until this goes.
class again_and_again {
 public:
  template <class Do>
  explicit again_and_again(Do what)
      : thread_([this, what] {
          while (!over_) {
            std::this_thread::sleep_for(1ms);
            what();
          }
        }) {}
  ~again_and_again() {
    over_ = true;
    thread_.join();
  }
  again_and_again(const again_and_again&) = delete;
  again_and_again& operator=(const again_and_again&) = delete;

 private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

quoit::wait each_strategy() {
  quoit::wait how = quoit::wait::adaptive;
  SUBCASE("spinning for a little while") { how = quoit::wait::adaptive; }
  SUBCASE("spinning") { how = quoit::wait::spin; }
  SUBCASE("sleeping at once") { how = quoit::wait::block; }
  return how;
}

// Nobody looks around by himself: an interrupt that is lost hangs.
quoit::bus open_patiently(const meeting& here, quoit::wait how) {
  quoit::bus_options o = here.options();
  o.wait = how;
  o.recheck = 1h;
  o.lock_timeout = 100ms;  // on the kernel path, for what nobody reads
  return here.open(o);
}

template <class T>
bool was_interrupted(const quoit::result<T>& answer) {
  return !answer && answer.error() == errc::interrupted;
}

}  // namespace

TEST_CASE("another thread ends a wait for messages that has no end") {
  const meeting here(this_way());
  auto bus = open_patiently(here, each_strategy());
  auto sub = bus.subscriber<checked>("t").value();
  auto other = bus.subscriber<checked>("u").value();
  for (int i = 0; i < 20; ++i) {
    std::thread interrupts([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 100));
      bus.interrupt();
    });
    if (i % 2 == 0) {
      CHECK(was_interrupted(sub.wait()));
    } else {
      CHECK(was_interrupted(bus.wait_any(quoit::duration::max(), sub, other)));
    }
    interrupts.join();
  }
}

TEST_CASE("a signal handler ends a wait for messages that has no end") {
  const meeting here(this_way());
  auto bus = open_patiently(here, each_strategy());
  auto sub = bus.subscriber<checked>("t").value();
  const handler handles(interrupt_the_bus);
  bus_of_handler = &bus;
  const pthread_t waiter = ::pthread_self();
  for (int i = 0; i < 20; ++i) {
    std::thread signals([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 100));
      ::pthread_kill(waiter, SIGUSR1);
    });
    CHECK(was_interrupted(sub.wait()));
    signals.join();
  }
  CHECK(handled == 20);
  CHECK(errno_was_kept);
}

TEST_CASE("an interrupt that comes before the wait ends it, and only that one") {
  const meeting here(this_way());
  auto bus = open_patiently(here, each_strategy());
  auto sub = bus.subscriber<checked>("t").value();
  auto pub = bus.publisher<checked>("t").value();
  bus.interrupt();
  bus.interrupt();
  CHECK(was_interrupted(sub.wait()));
  CHECK(sub.wait(1ms).error() == errc::timed_out);
  // What is there comes first; the next call that would block is ended.
  REQUIRE(pub.publish(checked::make(0, 0)));
  until([&] { return sub.publishers() == 1; });
  bus.interrupt();
  CHECK(sub.wait().value()->number == 0);
  CHECK(was_interrupted(sub.wait()));
  REQUIRE(pub.publish(checked::make(0, 1)));
  CHECK(sub.wait().value()->number == 1);
  // Of another bus, it is none of its business.
  auto second = open_patiently(here, quoit::wait::block);
  second.interrupt();
  CHECK(sub.wait(1ms).error() == errc::timed_out);
}

TEST_CASE("a wait for space is ended, by a thread and by a handler") {
  const meeting here(this_way());
  auto bus = open_patiently(here, each_strategy());
  auto reader = here.open();
  auto sub = reader.subscriber<checked>("t").value();
  auto pub = bus.publisher<checked>("t").value();
  until([&] { return pub.subscribers() == 1; });
  auto held = pub.publish(checked::make(0, 0));
  for (std::uint64_t n = 1; held; ++n) held = pub.publish(checked::make(0, n));
  REQUIRE(held.error() == errc::would_block);
  for (int i = 0; i < 10; ++i) {
    std::thread interrupts([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 100));
      bus.interrupt();
    });
    if (i % 2 == 0) {
      const auto loan = pub.loan_for(quoit::duration::max());
      CHECK(was_interrupted(loan));
    } else {
      CHECK(was_interrupted(pub.publish_for(checked::make(9, 9), std::chrono::hours::max())));
    }
    interrupts.join();
  }
  const handler handles(interrupt_the_bus);
  bus_of_handler = &bus;
  const pthread_t waiter = ::pthread_self();
  std::thread signals([&] {
    std::this_thread::sleep_for(1ms);
    ::pthread_kill(waiter, SIGUSR1);
  });
  CHECK(was_interrupted(pub.loan_for(quoit::duration::max())));
  signals.join();
  CHECK(pub.loan_for(1ms).error() == errc::timed_out);
}

TEST_CASE("a flush that waits for a subscriber that does not read is ended") {
  const meeting here(quoit::transport::kernel);
  auto bus = open_patiently(here, quoit::wait::block);
  auto reader = here.open();
  auto sub = reader.subscriber<checked>("t").value();
  auto pub = bus.publisher<checked>("t").value();
  until([&] { return pub.subscribers() == 1; });
  while (pub.publish(checked::make(0, 0))) {
  }
  std::thread interrupts([&] {
    std::this_thread::sleep_for(2ms);
    bus.interrupt();
  });
  CHECK(was_interrupted(pub.flush_for(quoit::duration::max())));
  interrupts.join();
}

TEST_CASE("signals that are handled without an interrupt end no wait") {
  const meeting here(this_way());
  auto bus = open_patiently(here, each_strategy());
  auto other = here.open();
  auto sub = bus.subscriber<checked>("t").value();
  auto pub = other.publisher<checked>("t").value();
  auto full = bus.publisher<checked>("full").value();
  auto slow = other.subscriber<checked>("full").value();
  until([&] { return sub.publishers() == 1 && full.subscribers() == 1; });
  const handler handles(only_count);
  const pthread_t waiter = ::pthread_self();
  const again_and_again signals([waiter] { ::pthread_kill(waiter, SIGUSR1); });
  CHECK(sub.wait(20ms).error() == errc::timed_out);
  while (full.publish(checked::make(0, 0))) {
  }
  CHECK(full.loan_for(20ms).error() == errc::timed_out);
  std::thread publishes([&] {
    const int before = handled;
    while (handled < before + 3) std::this_thread::sleep_for(1ms);
    CHECK(pub.publish(checked::make(0, 7)));
  });
  CHECK(sub.wait().value()->number == 7);
  publishes.join();
}

TEST_CASE("waits on disk are ended: for the next file, and for the disk") {
  const bus_guard name;
  const scratch_directory directory;
  quoit::bus_options patient;
  patient.recheck = 1h;
  auto bus = quoit::bus::open(name.name(), patient).value();
  auto pub = bus.publisher<checked>("t", {.directory = directory.path(), .segment_bytes = 64 << 10}).value();
  auto sub = bus.subscriber<checked>("t", {.directory = directory.path()}).value();
  std::thread interrupts([&] {
    std::this_thread::sleep_for(2ms);
    bus.interrupt();
  });
  CHECK(was_interrupted(sub.wait()));
  interrupts.join();
  // Pending: a publisher that would wait says so, and one that need not does not.
  bus.interrupt();
  auto published = pub.publish(checked::make(0, 0));
  for (std::uint64_t n = 1; n < 20'000 && published; ++n) published = pub.publish_for(checked::make(0, n), 60s);
  CHECK((published || was_interrupted(published)));
}
