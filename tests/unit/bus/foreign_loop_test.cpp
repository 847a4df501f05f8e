// Subscribers in a loop that is not quoit's. No recheck helps, unless a case says so: it comes after an hour, and a
// wake that is lost hangs.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "quoit/detail/topic_layout.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/foreign.hpp"
#include "support/skip.hpp"
#include "support/sleeper.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

// As whoever stands on epoll.
class epoll_loop {
 public:
  void add(int fd, std::uint32_t events = EPOLLIN) {
    epoll_event e{};
    e.events = events;
    e.data.fd = fd;
    REQUIRE(::epoll_ctl(set_, EPOLL_CTL_ADD, fd, &e) == 0);
  }
  // What is readable; waits for ever.
  std::vector<int> wait() {
    epoll_event found[16];
    int n = 0;
    do n = ::epoll_wait(set_, found, 16, -1);
    while (n < 0 && errno == EINTR);
    REQUIRE(n > 0);
    std::vector<int> fds;
    for (int i = 0; i < n; ++i) fds.push_back(found[i].data.fd);
    return fds;
  }
  ~epoll_loop() { ::close(set_); }

 private:
  int set_ = ::epoll_create1(EPOLL_CLOEXEC);
};

template <class Subscriber>
std::uint64_t number_of_next(Subscriber& sub) {
  auto got = sub.poll();
  REQUIRE((got && *got && (**got).intact()));
  return (**got).number;
}
template <class Subscriber>
bool has_nothing(Subscriber& sub) {
  auto got = sub.poll();
  REQUIRE(got.has_value());
  return !*got;
}

// Made first, it goes last.
struct set_at_end {
  std::atomic<bool>& flag;
  ~set_at_end() { flag = true; }
};

constexpr quoit::transport both[] = {quoit::transport::shared_memory, quoit::transport::kernel};

}  // namespace

TEST_CASE("a subscriber's descriptor is readable until a poll finds nothing, and again with the next message") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto pub = bus.publisher<checked>("t").value();
    auto sub = bus.subscriber<checked>("t").value();
    const int fd = sub.fd().value();
    CHECK(sub.fd().value() == fd);
    CHECK(readable(fd));
    CHECK(has_nothing(sub));
    CHECK_FALSE(readable(fd));
    for (std::uint64_t round = 0; round < 20; ++round) {
      for (std::uint64_t i = 0; i < 3; ++i) REQUIRE(pub.publish(checked::make(1, i)));
      // One at a time, as a loop that is level-triggered may.
      for (std::uint64_t i = 0; i < 3; ++i) {
        REQUIRE(readable(fd, -1));
        CHECK(number_of_next(sub) == i);
      }
      CHECK(has_nothing(sub));
      CHECK_FALSE(readable(fd));
      CHECK(has_nothing(sub));
      CHECK_FALSE(readable(fd));
    }
  }
}

TEST_CASE("what was received before the descriptor was asked for, or by other calls, makes it readable") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto sub = bus.subscriber<checked>("t").value();
    auto pub = bus.publisher<checked>("t").value();
    until([&] { return pub.subscribers() == 1 && sub.publishers() == 1; });
    for (std::uint64_t i = 0; i < 3; ++i) REQUIRE(pub.publish(checked::make(1, i)));
    const auto first = sub.wait(1h);
    REQUIRE((first && (*first)->number == 0));
    const int fd = sub.fd().value();
    CHECK(readable(fd));
    CHECK(number_of_next(sub) == 1);
    CHECK(readable(fd));
    CHECK(number_of_next(sub) == 2);
    CHECK(has_nothing(sub));
    CHECK_FALSE(readable(fd));
    for (std::uint64_t i = 3; i < 6; ++i) REQUIRE(pub.publish(checked::make(1, i)));
    REQUIRE(readable(fd, -1));
    // On the kernel path this takes what the sockets have.
    CHECK(sub.publishers() == 1);
    for (std::uint64_t i = 3; i < 6; ++i) {
      CHECK(readable(fd));
      CHECK(number_of_next(sub) == i);
    }
    CHECK(has_nothing(sub));
    CHECK_FALSE(readable(fd));
  }
}

TEST_CASE("each subscriber of a bus has a descriptor of its own") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto a = bus.subscriber<checked>("a").value();
  auto b = bus.subscriber<checked>("b").value();
  auto other_b = bus.subscriber<checked>("b").value();
  auto to_a = bus.publisher<checked>("a").value();
  auto to_b = bus.publisher<checked>("b").value();
  for (auto* const sub : {&a, &b, &other_b}) {
    REQUIRE(sub->fd());
    CHECK(has_nothing(*sub));
  }
  const int fds[] = {a.fd().value(), b.fd().value(), other_b.fd().value()};
  CHECK((fds[0] != fds[1] && fds[1] != fds[2] && fds[0] != fds[2]));
  REQUIRE(to_a.publish(checked::make(1, 7)));
  CHECK((readable(fds[0]) && !readable(fds[1]) && !readable(fds[2])));
  CHECK(number_of_next(a) == 7);
  CHECK(has_nothing(a));
  REQUIRE(to_b.publish(checked::make(1, 8)));
  CHECK((!readable(fds[0]) && readable(fds[1]) && readable(fds[2])));
  CHECK(number_of_next(b) == 8);
  CHECK(has_nothing(b));
  CHECK((!readable(fds[1]) && readable(fds[2])));
  CHECK(number_of_next(other_b) == 8);
}

TEST_CASE("a loss is an error that makes the descriptor readable, and so is what comes behind it") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t", {.policy = quoit::policy::overwrite, .capacity_bytes = 4096}).value();
  auto sub = bus.subscriber<checked>("t").value();
  const int fd = sub.fd().value();
  CHECK(has_nothing(sub));
  for (std::uint64_t i = 0; i < 1000; ++i) REQUIRE(pub.publish(checked::make(1, i)));
  REQUIRE(readable(fd, -1));
  // It may have had the first one in its hands already.
  std::uint64_t next = 0, losses = 0;
  while (next < 1000) {
    REQUIRE(readable(fd));
    const auto got = sub.poll();
    if (got) {
      REQUIRE((*got && (**got).number == next++));
    } else {
      REQUIRE(got.error() == errc::lagged);
      next += got.error().value();
      ++losses;
    }
  }
  CHECK(losses > 0);
  CHECK(has_nothing(sub));
  CHECK_FALSE(readable(fd));
}

TEST_CASE("a subscriber that holds all the samples it may stays readable, and goes on when it gives one back") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t", {.samples_max = 1}).value();
  const int fd = sub.fd().value();
  CHECK(has_nothing(sub));
  for (std::uint64_t i = 0; i < 2; ++i) REQUIRE(pub.publish(checked::make(1, i)));
  {
    const auto held = sub.poll().value();
    CHECK(held->number == 0);
    CHECK(sub.poll().error() == errc::too_many_samples);
    CHECK(readable(fd));
  }
  CHECK(readable(fd));
  CHECK(number_of_next(sub) == 1);
}

TEST_CASE("publishers that come and go make the descriptor readable, and their messages are received") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), patient(used)).value();
    auto sub = bus.subscriber<checked>("t").value();
    const int fd = sub.fd().value();
    CHECK(has_nothing(sub));
    std::atomic<bool> done{false};
    std::thread others([&] {
      const set_at_end ended{done};
      for (std::uint64_t i = 0; i < 5; ++i) {
        auto theirs = quoit::bus::open(name.name(), patient(used)).value();
        auto pub = theirs.publisher<checked>("t").value();
        until([&] { return pub.subscribers() == 1; });
        if (!pub.publish(checked::make(1, i))) std::abort();
      }
    });
    // Also when the last message is there: a publisher on the kernel path stays until its subscribers let it go.
    std::vector<std::uint64_t> came;
    while (came.size() < 5 || !done) {
      if (!readable(fd, 1)) continue;
      auto sample = sub.poll();
      REQUIRE(sample.has_value());
      if (*sample) came.push_back((**sample).number);
    }
    others.join();
    // Between publishers there is no order.
    std::sort(came.begin(), came.end());
    CHECK(came == std::vector<std::uint64_t>{0, 1, 2, 3, 4});
    // It comes to rest.
    while (!has_nothing(sub) || readable(fd, 20)) {
    }
  }
}

TEST_CASE("100,000 messages of two publishers, through epoll with pauses at any time: none is missed") {
  const std::uint64_t count = fast() ? 2'000 : 50'000;
  for (const auto used : both) {
    for (const std::uint32_t events : {std::uint32_t{EPOLLIN}, std::uint32_t{EPOLLIN | EPOLLET}}) {
      if (used == quoit::transport::kernel && events != EPOLLIN) continue;
      const bus_guard name;
      auto bus = quoit::bus::open(name.name(), patient(used)).value();
      auto sub = bus.subscriber<checked>("t").value();
      std::vector<std::thread> threads;
      for (std::uint64_t who = 1; who <= 2; ++who) {
        threads.emplace_back([&, who] {
          auto theirs = quoit::bus::open(name.name(), patient(used)).value();
          auto pub = theirs.publisher<checked>("t", {.capacity_bytes = 1 << 16}).value();
          until([&] { return pub.subscribers() == 1; });
          std::minstd_rand dice(static_cast<unsigned>(who));
          for (std::uint64_t i = 0; i < count; ++i) {
            if (!pub.publish_for(checked::make(who, i), 1h)) std::abort();
            if (dice() % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(dice() % 200));
          }
          if (!pub.flush_for(1h)) std::abort();
        });
      }
      epoll_loop loop;
      loop.add(sub.fd().value(), events);
      std::minstd_rand dice(3);
      std::map<std::uint64_t, std::uint64_t> next;
      while (next[1] + next[2] < 2 * count) {
        loop.wait();
        // With EPOLLET until there is nothing, as its rules are; else as many as it likes.
        const unsigned most = (events & EPOLLET) != 0 ? ~0u : 1 + dice() % 8;
        for (unsigned n = 0; n < most; ++n) {
          auto got = sub.poll();
          REQUIRE(got.has_value());
          if (!*got) break;
          REQUIRE((**got).intact());
          REQUIRE((**got).number == next[(**got).publisher]++);
        }
        if (dice() % 256 == 0) std::this_thread::sleep_for(std::chrono::microseconds(dice() % 200));
      }
      for (auto& t : threads) t.join();
    }
  }
}

// One at a time, and none comes after it: so a wake that is lost is not made good by the next.
TEST_CASE("a message that comes while a poll finds nothing makes the descriptor readable, whenever that is") {
  const std::uint64_t rounds = fast() ? 5'000 : 50'000;
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto sub = bus.subscriber<checked>("t").value();
  const int fd = sub.fd().value();
  std::atomic<std::uint64_t> taken{0};
  std::thread publishes([&] {
    auto theirs = quoit::bus::open(name.name(), patient()).value();
    auto pub = theirs.publisher<checked>("t").value();
    std::minstd_rand dice(5);
    for (std::uint64_t i = 0; i < rounds; ++i) {
      while (taken != i) {
      }
      for (unsigned n = dice() % 4096; n != 0; --n) quoit::detail::cpu_relax();
      if (!pub.publish(checked::make(1, i))) std::abort();
    }
  });
  while (taken < rounds) {
    REQUIRE(readable(fd, -1));
    for (;;) {
      const auto got = sub.poll();
      REQUIRE(got.has_value());
      if (!*got) break;
      REQUIRE((**got).number == taken);
      ++taken;
    }
  }
  publishes.join();
}

TEST_CASE("a wake that died with its waker costs a recheck: the descriptor is readable then") {
  const bus_guard name;
  quoit::bus_options options = patient();
  options.recheck = 20ms;
  auto bus = quoit::bus::open(name.name(), options).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  const int fd = sub.fd().value();
  const int topic = ::shm_open(("/quoit." + name.name() + ".t").c_str(), O_RDWR | O_CLOEXEC, 0);
  REQUIRE(topic >= 0);
  namespace detail = quoit::detail;
  void* const base = ::mmap(nullptr, sizeof(detail::topic_header), PROT_READ | PROT_WRITE, MAP_SHARED, topic, 0);
  REQUIRE(base != MAP_FAILED);
  ::close(topic);
  detail::u64& armed = static_cast<detail::topic_header*>(base)->armed[0];
  for (std::uint64_t i = 0; i < 3; ++i) {
    while (!has_nothing(sub)) {
    }
    REQUIRE(detail::load_relaxed(armed) != 0);
    // As by a waker that dies before it writes.
    detail::exchange(armed, 0);
    REQUIRE(pub.publish(checked::make(1, i)));
    for (bool got = false; !got;) {
      REQUIRE(readable(fd, -1));
      auto sample = sub.poll().value();
      got = static_cast<bool>(sample);
      if (got) CHECK(sample->number == i);
    }
  }
  // It does not stay readable when it has looked.
  REQUIRE(readable(fd, -1));
  CHECK(has_nothing(sub));
  CHECK_FALSE(readable(fd));
  ::munmap(base, sizeof(detail::topic_header));
}

TEST_CASE("threads that wait and coroutines share a subscriber with a foreign loop") {
  for (const auto used : both) {
    CAPTURE(static_cast<int>(used));
    const bus_guard name;
    auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
    auto bus = quoit::bus::open(ex, name.name(), patient(used)).value();
    auto sub = bus.subscriber<checked>("t").value();
    const int fd = sub.fd().value();
    CHECK(has_nothing(sub));
    constexpr std::uint64_t count = 300;
    std::atomic<bool> done{false};
    std::thread publishes([&] {
      const set_at_end ended{done};
      auto theirs = quoit::bus::open(name.name(), patient(used)).value();
      auto pub = theirs.publisher<checked>("t").value();
      until([&] { return pub.subscribers() == 1; });
      for (std::uint64_t i = 0; i < count; ++i) {
        if (!pub.publish_for(checked::make(1, i), 1h)) std::abort();
        if (i % 7 == 0) std::this_thread::sleep_for(100us);
      }
      if (!pub.flush_for(1h)) std::abort();
    });
    const auto one = [](quoit::subscriber<checked>& from) -> quoit::task<std::uint64_t> {
      const auto got = co_await from.next();
      co_return got ? (*got)->number : ~std::uint64_t{0};
    };
    std::uint64_t next = 0;
    while (next < count) {
      if (next % 3 == 0) {
        CHECK(ex.run(one(sub)) == next++);
      } else if (next % 3 == 1) {
        const auto got = sub.wait(1h);
        REQUIRE((got && (*got)->number == next++));
      } else {
        REQUIRE(readable(fd, -1));
        auto got = sub.poll();
        REQUIRE(got.has_value());
        if (*got) CHECK((**got).number == next++);
      }
    }
    // A publisher on the kernel path stays until its subscribers let it go.
    while (!done) CHECK((readable(fd, 1) ? has_nothing(sub) : true));
    publishes.join();
  }
}

TEST_CASE("the pipe of a subscriber goes with it, and its descriptor is silent then") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t").value();
  {
    auto sub = bus.subscriber<checked>("t").value();
    CHECK(pipes_of(name).empty());
    REQUIRE(sub.fd());
    CHECK(pipes_of(name).size() == 1);
    // A copy, as a forked child has one.
    const int copy = ::dup(sub.fd().value());
    CHECK(readable(copy));
    {
      const auto gone = std::move(sub);
    }
    CHECK_FALSE(readable(copy));
    ::close(copy);
  }
  CHECK(pipes_of(name).empty());
  CHECK(pub.publish(checked::make(1, 1)));
  // Nothing is left of it for whoever has the entry next.
  auto next = bus.subscriber<checked>("t").value();
  CHECK(has_nothing(next));
  const auto wakes = pub.wakes();
  CHECK(pub.publish(checked::make(1, 2)));
  CHECK(pub.wakes() == wakes);
}

TEST_CASE("the pipes of a process that was killed go when somebody cleans up after it") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t").value();
  child dies([&] {
    auto theirs = quoit::bus::open(name.name(), patient()).value();
    auto sub = theirs.subscriber<checked>("t").value();
    auto other = theirs.subscriber<checked>("t").value();
    if (!sub.fd() || !other.fd() || sub.poll().value() || other.poll().value()) return 1;
    for (;;) ::pause();
  });
  until([&] { return pipes_of(name).size() == 2; });
  dies.kill();
  dies.wait();
  CHECK(pub.publish(checked::make(1, 1)));
  bus.clean_up();
  CHECK(pipes_of(name).empty());
}

TEST_CASE("a publisher that is killed with a message hidden behind its loan is cleaned up after from a foreign loop") {
  const bus_guard name;
  quoit::bus_options options = patient();
  options.recheck = 20ms;
  auto bus = quoit::bus::open(name.name(), options).value();
  auto sub = bus.subscriber<checked>("t").value();
  const int fd = sub.fd().value();
  CHECK(has_nothing(sub));
  child dies([&] {
    auto theirs = quoit::bus::open(name.name(), patient()).value();
    auto pub = theirs.publisher<checked>("t").value();
    const auto older = pub.try_loan().value();
    auto newer = pub.try_loan().value();
    *newer = checked::make(1, 9);
    std::move(newer).publish();
    ::raise(SIGKILL);
    return 1;
  });
  CHECK(dies.wait().signal == SIGKILL);
  for (bool got = false; !got;) {
    REQUIRE(readable(fd, -1));
    auto sample = sub.poll().value();
    got = static_cast<bool>(sample);
    if (got) CHECK(sample->number == 9);
  }
}

TEST_CASE("a forked child has no descriptor, and takes nothing of its parent's with it") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = std::make_unique<quoit::subscriber<checked>>(bus.subscriber<checked>("t").value());
  const int fd = sub->fd().value();
  CHECK(has_nothing(*sub));
  child copy([&] {
    const bool refused = sub->fd().error() == errc::forked && sub->poll().error() == errc::forked;
    sub.reset();
    return refused ? 0 : 1;
  });
  CHECK(copy.wait().status == 0);
  CHECK(pipes_of(name).size() == 1);
  CHECK_FALSE(readable(fd));
  REQUIRE(pub.publish(checked::make(1, 4)));
  REQUIRE(readable(fd, -1));
  CHECK(number_of_next(*sub) == 4);
}

TEST_CASE("whoever cannot have a descriptor is told why, and goes on without") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name(), patient()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto observer = bus.subscriber<checked>("t", {.mode = quoit::mode::observer}).value();
  const auto refused = observer.fd();
  REQUIRE(!refused);
  CHECK(refused.error() == errc::invalid_argument);
  CHECK(refused.error().message().find("observer") != std::string::npos);

  const auto memory = quoit::inherited_memory::create({.bytes = 16 << 20}).value();
  auto inherited = quoit::bus::open(memory).value();
  auto inside = inherited.subscriber<checked>("t").value();
  CHECK(inside.fd().error() == errc::invalid_argument);
  CHECK(has_nothing(inside));

  for (int spare = 0; spare < 3; ++spare) {
    child poor([&] {
      auto theirs = quoit::bus::open(name.name(), patient()).value();
      auto sub = theirs.subscriber<checked>("t").value();
      const int next = ::dup(0);
      ::close(next);
      const rlimit few{static_cast<rlim_t>(next + spare), static_cast<rlim_t>(next + spare)};
      ::setrlimit(RLIMIT_NOFILE, &few);
      const auto none = sub.fd();
      return !none && none.error() == errc::limit_reached && sub.poll().has_value() ? 0 : 1;
    });
    CHECK(poor.wait().status == 0);
  }
  CHECK(pipes_of(name).empty());
}
