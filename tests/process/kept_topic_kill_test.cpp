// A topic on disk between unrelated processes: publishers are killed at any moment and come back, subscribers begin at
// every kind of start and follow. What was committed is received, once, whole and in order.
#include <algorithm>
#include <array>
#include <random>
#include <thread>

#include <sys/mman.h>

#include <quoit.hpp>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/kept_publisher.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::start;

namespace {

constexpr std::size_t lanes = 3;
constexpr const char* names[lanes] = {"a", "b", "c"};
constexpr u64 numbers_max = u64{1} << 20;
constexpr const char* topic_name = "t";

u64 kills() { return fast() ? 40 : 150; }
u64 messages_wanted() { return fast() ? 40'000 : 150'000; }

struct shared_state {
  u64 published;                // messages, of all lanes, of which a publisher knows that they are committed
  u64 over;                     // nothing is published any more
  std::array<u64, lanes> next;  // the number behind the last one that was committed
  std::array<std::array<u8, numbers_max>, lanes> committed;
};

struct seen_by_one {
  u64 open;                      // it has been opened
  std::array<u64, lanes> first;  // the first number that it received, plus one; 0: none
  std::array<std::array<u8, numbers_max>, lanes> received;
};

template <class T>
T& shared_memory() {
  void* const at = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  return *static_cast<T*>(at);
}

int publish_for_ever(const std::string& bus, const std::string& directory, std::size_t lane, shared_state& shared) {
  kept_publisher pub(bus, directory, topic_name, names[lane]);
  for (u64 turn = 0; __atomic_load_n(&shared.over, __ATOMIC_ACQUIRE) == 0; ++turn) {
    const u64 n = pub.published();
    if (n + 1 >= numbers_max) return 10;
    pub.publish();
    shared.committed[lane][n] = 1;
    __atomic_store_n(&shared.next[lane], n + 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(&shared.published, 1, __ATOMIC_RELEASE);
    // Now in bursts, now alone, so that subscribers sleep now and then.
    if (turn % 64 == 63) ::usleep(500);
  }
  return 0;
}

enum class way { polling, waiting, awaiting };

struct follower {
  const char* what;
  start from;
  way how;
};

// Holds what is received against what may be. Its status says what went wrong; 0: nothing.
int look_at(const quoit::sample<quoit::bytes>& sample, std::array<u64, lanes>& next, seen_by_one& seen) {
  std::size_t lane = 0;
  while (lane < lanes && sample.publisher_name() != names[lane]) ++lane;
  if (lane == lanes) return 20;
  u64 n = 0;
  std::memcpy(&n, sample.data().data(), 8);
  if (!is_message(sample.data().data(), static_cast<u32>(sample.data().size()), n)) return 21;
  if (n != sample.sequence() || n >= numbers_max) return 22;
  if (n < next[lane]) return 23;  // a second time, or out of order
  if (seen.first[lane] == 0) seen.first[lane] = n + 1;
  next[lane] = n + 1;
  seen.received[lane][n] = 1;
  return 0;
}

using received = quoit::result<quoit::sample<quoit::bytes>>;

quoit::task<int> await_all(quoit::subscriber<quoit::bytes>& sub, const shared_state& shared, seen_by_one& seen) {
  std::array<u64, lanes> next{};
  for (;;) {
    const bool last = __atomic_load_n(&shared.over, __ATOMIC_ACQUIRE) == 2;
    received sample = co_await quoit::timeout(200ms, sub.next());
    if (!sample && sample.error() == errc::timed_out && last) co_return 0;
    if (!sample && sample.error() == errc::timed_out) continue;
    if (!sample) co_return 24;
    if (const int wrong = look_at(*sample, next, seen); wrong != 0) co_return wrong;
  }
}

int receive_all(quoit::subscriber<quoit::bytes>& sub, way how, const shared_state& shared, seen_by_one& seen) {
  std::array<u64, lanes> next{};
  for (;;) {
    const bool last = __atomic_load_n(&shared.over, __ATOMIC_ACQUIRE) == 2;
    received sample = how == way::polling ? sub.poll() : sub.wait(200ms);
    const bool nothing = sample ? !*sample : sample.error() == errc::timed_out;
    if (nothing && last) return 0;
    if (nothing) continue;
    if (!sample) return 24;
    if (const int wrong = look_at(*sample, next, seen); wrong != 0) return wrong;
  }
}

int follow(const std::string& bus_name, const std::string& directory, const follower& who, const shared_state& shared,
           seen_by_one& seen) {
  quoit::subscriber_options options;
  options.directory = directory;
  options.start = who.from;
  if (who.how != way::awaiting) {
    auto bus = quoit::bus::open(bus_name).value();
    auto sub = bus.subscriber<quoit::bytes>(topic_name, options).value();
    __atomic_store_n(&seen.open, 1, __ATOMIC_RELEASE);
    return receive_all(sub, who.how, shared, seen);
  }
  auto executor = quoit::executor::create().value();
  auto bus = quoit::bus::open(executor, bus_name).value();
  auto sub = bus.subscriber<quoit::bytes>(topic_name, options).value();
  __atomic_store_n(&seen.open, 1, __ATOMIC_RELEASE);
  return executor.run(await_all(sub, shared, seen));
}

}  // namespace

TEST_CASE("subscribers from every start receive what publishers on disk committed, however often those are killed") {
  bus_guard guard;
  guard.expect_leftovers();
  const scratch_directory directory;
  auto& shared = shared_memory<shared_state>();
  std::mt19937_64 random(static_cast<u64>(::getpid()));

  std::array<std::unique_ptr<quoit::test::child>, lanes> publishers;
  const auto begin = [&](std::size_t lane) {
    publishers[lane] = std::make_unique<quoit::test::child>(
        [&, lane] { return publish_for_ever(guard.name(), directory.path(), lane, shared); });
  };
  // Something is there before anybody subscribes, and a cursor points into it.
  for (std::size_t lane = 0; lane < lanes; ++lane) begin(lane);
  for (const u64& next : shared.next) {
    while (__atomic_load_n(&next, __ATOMIC_ACQUIRE) < 1500) ::usleep(1000);
  }
  const auto place = quoit::cursor::parse("a:100,b:7").value();
  const auto now = std::chrono::sys_time<std::chrono::nanoseconds>(std::chrono::system_clock::now());
  const follower followers[] = {{"earliest, waiting", start::earliest, way::waiting},
                                {"earliest, awaiting", start::earliest, way::awaiting},
                                {"earliest, polling", start::earliest, way::polling},
                                {"latest", start::latest, way::awaiting},
                                {"last(300)", start::last(300), way::waiting},
                                {"sequence(1000)", start::sequence(1000), way::awaiting},
                                {"time", start::time(now), way::waiting},
                                {"a cursor", start::at(place), way::waiting}};
  std::vector<seen_by_one*> seen;
  std::vector<std::unique_ptr<quoit::test::child>> following;
  std::vector<std::array<u64, lanes>> committed_at_open;
  for (const follower& who : followers) {
    seen.push_back(&shared_memory<seen_by_one>());
    following.push_back(std::make_unique<quoit::test::child>(
        [&, at = seen.back()] { return follow(guard.name(), directory.path(), who, shared, *at); }));
    while (__atomic_load_n(&seen.back()->open, __ATOMIC_ACQUIRE) == 0 && ::kill(following.back()->pid(), 0) == 0) {
      ::usleep(100);
    }
    committed_at_open.emplace_back();
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      committed_at_open.back()[lane] = __atomic_load_n(&shared.next[lane], __ATOMIC_ACQUIRE);
    }
  }
  u64 killed = 0;
  while (killed < kills() || __atomic_load_n(&shared.published, __ATOMIC_ACQUIRE) < messages_wanted()) {
    ::usleep(static_cast<useconds_t>(random() % 8000));
    if (killed >= kills()) continue;
    const std::size_t lane = random() % lanes;
    publishers[lane]->kill();
    REQUIRE(publishers[lane]->wait().signal == SIGKILL);
    ++killed;
    begin(lane);
  }
  __atomic_store_n(&shared.over, 1, __ATOMIC_RELEASE);
  for (auto& publisher : publishers) CHECK(publisher->wait().status == 0);
  __atomic_store_n(&shared.over, 2, __ATOMIC_RELEASE);

  for (std::size_t i = 0; i < following.size(); ++i) {
    INFO("who begins at " << followers[i].what);
    CHECK(following[i]->wait().status == 0);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      INFO("lane " << names[lane]);
      const u64 first = seen[i]->first[lane];
      REQUIRE(first != 0);
      u64 missing = 0;
      for (u64 n = first - 1; n < numbers_max; ++n) missing += shared.committed[lane][n] > seen[i]->received[lane][n];
      CHECK(missing == 0);
      // It began where it asked to.
      const auto kind = followers[i].from.kind;
      if (kind == start::from::earliest) CHECK(first == 1);
      if (kind == start::from::latest || kind == start::from::time) CHECK(first - 1 <= committed_at_open[i][lane] + 1);
      if (kind == start::from::sequence) {
        CHECK(first - 1 == 1000);
      }
      if (kind == start::from::cursor) CHECK(first - 1 == (lane == 0 ? 100 : lane == 1 ? 7 : 0));
    }
    ::munmap(seen[i], sizeof(seen_by_one));
  }
  MESSAGE(shared.published << " messages, " << killed << " kills");
  ::munmap(&shared, sizeof(shared_state));
}
