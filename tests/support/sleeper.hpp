// A node that sleeps in a thread of its own, and how the others know that it does. Its recheck never comes: whoever is
// not woken hangs, and the watchdog says so.
#pragma once

#include <atomic>
#include <functional>
#include <quoit.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quoit/detail/bus_layout.hpp"
#include "support/messages.hpp"

namespace quoit::test {

// Sleeps at once, and for good.
inline constexpr quoit::bus_options never_rechecks{
    .node_name = "sleeper", .wait = quoit::wait::block, .recheck = std::chrono::hours(1)};

// The entry of a node, seen from outside.
class node_view {
 public:
  node_view(const std::string& bus, std::string_view node) {
    const int fd = ::shm_open(("/quoit." + bus).c_str(), O_RDONLY | O_CLOEXEC, 0);
    struct stat about{};
    if (fd < 0 || ::fstat(fd, &about) != 0) throw std::runtime_error("no bus " + bus);
    bytes_ = static_cast<std::size_t>(about.st_size);
    base_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, 0);
    ::close(fd);
    if (base_ == MAP_FAILED) throw std::runtime_error("mapping bus " + bus);
    const auto* const table =
        reinterpret_cast<const detail::node_entry*>(static_cast<const std::byte*>(base_) + detail::bus_header_bytes);
    for (std::size_t i = 0; detail::bus_header_bytes + (i + 1) * sizeof(detail::node_entry) <= bytes_; ++i) {
      if (detail::load_acquire(table[i].state) == 1 && node == table[i].name) entry_ = table + i;
    }
    if (entry_ == nullptr) throw std::runtime_error("no such node");
  }
  node_view(const node_view&) = delete;
  node_view& operator=(const node_view&) = delete;
  ~node_view() { ::munmap(base_, bytes_); }

  void until_asleep() const {
    until([&] { return detail::load_acquire(entry_->bell.sleeping) != 0; });
    // Past its last look too, almost surely: what comes before that look is no test of being woken.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  std::uint64_t sleeps() const { return detail::load_relaxed(entry_->sleeps); }
  // Until it was woken, found nothing, and sleeps again.
  void until_slept_again(std::uint64_t before) const {
    until([&] { return sleeps() > before; });
    until_asleep();
  }

 private:
  void* base_ = nullptr;
  std::size_t bytes_ = 0;
  const detail::node_entry* entry_ = nullptr;
};

enum class way { thread, coroutine };
inline constexpr way both_ways[] = {way::thread, way::coroutine};

// Opens `endpoint` (from a bus) in a thread of its own, and then does `life` with it: as it is in a thread that may
// block, or as a task of an executor. Ends with it.
class sleeper {
 public:
  template <class Endpoint>
  sleeper(const std::string& bus, way how, std::function<Endpoint(quoit::bus&)> open,
          std::function<void(Endpoint&)> life, std::function<quoit::task<>(Endpoint&)> task,
          const quoit::bus_options& options = never_rechecks)
      : bus_(bus), thread_([this, how, open, life, task, options] {
          if (how == way::thread) {
            auto self = quoit::bus::open(bus_, options).value();
            Endpoint endpoint = open(self);
            open_.store(true);
            life(endpoint);
            done_.store(true);
            return;
          }
          auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
          auto self = quoit::bus::open(ex, bus_, options).value();
          Endpoint endpoint = open(self);
          open_.store(true);
          ex.run(task(endpoint));
          done_.store(true);
        }) {
    until([&] { return open_.load(); });
  }
  ~sleeper() { join(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  bool done() const { return done_.load(); }
  node_view node() const { return node_view(bus_, never_rechecks.node_name); }

 private:
  std::string bus_;
  std::atomic<bool> open_{false};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

using checked_publisher = quoit::publisher<checked>;
using checked_subscriber = quoit::subscriber<checked>;

// Takes one message, and checks its number.
inline std::unique_ptr<sleeper> takes_one(const std::string& bus, way how, std::uint64_t number,
                                          const quoit::subscriber_options& options = {}) {
  return std::make_unique<sleeper>(
      bus, how, std::function([options](quoit::bus& b) { return b.subscriber<checked>("t", options).value(); }),
      std::function([number](checked_subscriber& sub) {
        const auto got = sub.wait(std::chrono::hours(1));
        CHECK((got && (*got)->number == number && (*got)->intact()));
      }),
      std::function([number](checked_subscriber& sub) -> quoit::task<> {
        const auto got = co_await sub.next();
        CHECK((got && (*got)->number == number && (*got)->intact()));
      }));
}

// Publishes until there is no room, and then waits for some.
inline std::unique_ptr<sleeper> needs_space(const std::string& bus, way how, const quoit::publisher_options& options) {
  const auto fill = [](checked_publisher& pub) {
    for (std::uint64_t n = 0; pub.publish(checked::make(1, n)); ++n) {
    }
  };
  return std::make_unique<sleeper>(
      bus, how, std::function([options](quoit::bus& b) { return b.publisher<checked>("t", options).value(); }),
      std::function([fill](checked_publisher& pub) {
        fill(pub);
        CHECK(pub.loan_for(std::chrono::hours(1)).has_value());
      }),
      std::function([fill](checked_publisher& pub) -> quoit::task<> {
        fill(pub);
        const auto loan = co_await pub.loan();
        CHECK(loan.has_value());
      }));
}

}  // namespace quoit::test
