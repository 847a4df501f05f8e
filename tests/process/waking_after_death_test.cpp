// Who sleeps is woken by whoever cleans up after the dead, or goes on with what they left, and not by its recheck: that
// comes after an hour here, but for the last case.
#include <doctest/doctest.h>

#include "quoit/detail/topic_layout.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/sleeper.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
namespace detail = quoit::detail;

namespace {

// A child that says when it is ready, and then does nothing until it is killed.
class victim {
 public:
  template <class Life>
  explicit victim(Life&& life)
      : pipe_(), process_([&] {
          life([&] {
            const char said = 1;
            if (::write(pipe_.ends[1], &said, 1) != 1) ::_exit(1);
            for (;;) ::pause();
          });
          return 0;
        }) {
    char heard = 0;
    REQUIRE(::read(pipe_.ends[0], &heard, 1) == 1);
  }
  void kill() {
    process_.kill();
    process_.wait();
  }

 private:
  struct pipe_ends {
    pipe_ends() { REQUIRE(::pipe(ends) == 0); }
    ~pipe_ends() {
      ::close(ends[0]);
      ::close(ends[1]);
    }
    int ends[2] = {-1, -1};
  };
  pipe_ends pipe_;
  child process_;
};

constexpr quoit::publisher_options small{.capacity_bytes = 4096, .strides = 8};

}  // namespace

TEST_CASE("whoever cleans up after a publisher wakes those for whom its open loan hid a message") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    victim dies([&](const auto& ready) {
      auto mine = quoit::bus::open(name.name()).value();
      auto pub = mine.publisher<checked>("t").value();
      const auto older = pub.try_loan().value();
      auto newer = pub.try_loan().value();
      *newer = checked::make(1, 1);
      std::move(newer).publish();
      ready();
    });
    const auto reader = takes_one(name.name(), how, 1, {.start = quoit::start::earliest});
    reader->node().until_asleep();
    dies.kill();
    CHECK_FALSE(reader->done());
    bus.clean_up();
    reader->join();
  }
}

TEST_CASE("whoever cleans up after a subscriber wakes the publisher that waited for it") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    victim dies([&](const auto& ready) {
      auto mine = quoit::bus::open(name.name()).value();
      auto sub = mine.subscriber<checked>("t").value();
      ready();
    });
    const auto writer = needs_space(name.name(), how, small);
    writer->node().until_asleep();
    dies.kill();
    CHECK_FALSE(writer->done());
    bus.clean_up();
    writer->join();
  }
}

TEST_CASE("a lane that a subscriber had read to its end is heard again when a publisher goes on with it") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    victim dies([&](const auto& ready) {
      auto mine = quoit::bus::open(name.name()).value();
      auto pub = mine.publisher<checked>("t").value();
      REQUIRE(pub.publish(checked::make(1, 0)));
      ready();
    });
    // It holds a sample, and so stays on the lane.
    sleeper reader(name.name(), how, std::function([](quoit::bus& b) {
                     return b.subscriber<checked>("t", {.start = quoit::start::earliest}).value();
                   }),
                   std::function([](checked_subscriber& sub) {
                     const auto first = sub.wait(1h);
                     const auto second = sub.wait(1h);
                     CHECK((first && second && (*first)->number == 0 && (*second)->number == 1));
                   }),
                   std::function([](checked_subscriber& sub) -> quoit::task<> {
                     const auto first = co_await sub.next();
                     const auto second = co_await sub.next();
                     CHECK((first && second && (*first)->number == 0 && (*second)->number == 1));
                   }));
    const node_view node = reader.node();
    node.until_asleep();
    const std::uint64_t before = node.sleeps();
    dies.kill();
    bus.clean_up();
    node.until_slept_again(before);
    auto heir = bus.publisher<checked>("t").value();
    // Adopted: the numbers go on.
    CHECK(quoit::inspect(name.name()).value().topics[0].publishers[0].messages == 1);
    node.until_asleep();
    REQUIRE(heir.publish(checked::make(1, 1)));
    reader.join();
  }
}

TEST_CASE("a wake that died with its waker costs a recheck: it looks at the lanes, and sets the bit again") {
  for (const way how : both_ways) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t").value();
    const auto options = [] {
      auto o = never_rechecks;
      o.recheck = 20ms;
      return o;
    }();
    std::atomic<int> taken{0};
    sleeper reader(name.name(), how, std::function([](quoit::bus& b) { return b.subscriber<checked>("t").value(); }),
                   std::function([&](checked_subscriber& sub) {
                     for (; taken < 3; ++taken) CHECK(sub.wait(1h).has_value());
                   }),
                   std::function([&](checked_subscriber& sub) -> quoit::task<> {
                     for (; taken < 3; ++taken) CHECK((co_await sub.next()).has_value());
                   }),
                   options);
    const int fd = ::shm_open(("/quoit." + name.name() + ".t").c_str(), O_RDWR | O_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    void* const base = ::mmap(nullptr, sizeof(detail::topic_header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(base != MAP_FAILED);
    ::close(fd);
    detail::u64& armed = static_cast<detail::topic_header*>(base)->armed[0];
    for (int i = 0; i < 3; ++i) {
      reader.node().until_asleep();
      until([&] { return detail::load_relaxed(armed) != 0; });
      // As by a waker that dies before it rings.
      detail::exchange(armed, 0);
      REQUIRE(pub.publish(checked::make(1, static_cast<std::uint64_t>(i))));
      until([&] { return taken > i; });
    }
    ::munmap(base, sizeof(detail::topic_header));
    reader.join();
  }
}
