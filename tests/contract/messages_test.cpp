// What a publisher and its subscribers may count on, whichever way the messages go.
#include <string>
#include <vector>

#include "contract/ways.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::policy;

namespace {

using publisher = quoit::publisher<checked>;
using subscriber = quoit::subscriber<checked>;

template <class T>
T must(quoit::result<T> r) {
  if (!r) FAIL(r.error().message());
  return std::move(*r);
}

// Everything from `first` to `last`, in order.
void receive(subscriber& sub, std::uint64_t first, std::uint64_t last) {
  for (std::uint64_t n = first; n < last; ++n) {
    const auto got = must(sub.wait());
    REQUIRE(got->intact());
    REQUIRE(got->number == n);
  }
}

// Publishes until nothing more is taken, for good: what a socket takes late is counted too.
std::uint64_t fill(publisher& pub, std::uint64_t n) {
  while (pub.publish_for(checked::make(1, n), 30ms)) ++n;
  return n;
}

}  // namespace

TEST_CASE("the bus says which way its messages go, and why") {
  const auto way = this_way();
  const meeting here(way);
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t"));
  auto sub = must(bus.subscriber<checked>("t"));
  CHECK(bus.transport().used == way);
  CHECK(pub.transport().used == way);
  CHECK(sub.transport().used == way);
  CHECK(pub.transport().why.find(way.inherited ? "inherited" : "asked for") != std::string::npos);
}

TEST_CASE("structs, bytes and text arrive whole and in order") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("structs"));
  auto sub = must(bus.subscriber<checked>("structs"));
  for (std::uint64_t n = 0; n < 100; ++n) REQUIRE(pub.publish(checked::make(1, n)));
  receive(sub, 0, 100);
  CHECK_FALSE(must(sub.poll()));

  auto words = must(bus.publisher<quoit::text>("words"));
  auto reader = must(bus.subscriber<quoit::text>("words"));
  for (const std::string_view word : {"", "a", "quoit", "a longer line that is not short"}) {
    REQUIRE(words.publish(word));
    CHECK(*must(reader.wait()) == word);
  }
  auto blobs = must(bus.publisher<quoit::bytes>("blobs", {.message_bytes_max = 60'000}));
  auto blob_reader = must(bus.subscriber<quoit::bytes>("blobs"));
  for (std::size_t bytes = 1; bytes <= 60'000; bytes = bytes * 3 + 1) {
    const std::vector<std::byte> blob(bytes, std::byte{7});
    REQUIRE(blobs.publish(blob));
    const auto got = must(blob_reader.wait());
    REQUIRE((*got).size() == bytes);
    CHECK((*got)[bytes - 1] == std::byte{7});
  }
}

TEST_CASE("batches hold what lies together, and sequences count on") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t"));
  auto sub = must(bus.subscriber<checked>("t"));
  std::vector<checked> all;
  for (std::uint64_t n = 0; n < 200; ++n) all.push_back(checked::make(1, n));
  for (std::size_t done = 0; done < all.size();) done += must(pub.publish_batch(std::span(all).subspan(done)));
  std::uint64_t n = 0;
  while (n < 200) {
    auto batch = must(sub.poll_batch());
    for (const checked& message : batch) REQUIRE(message.number == n++);
  }
  REQUIRE(pub.publish(checked::make(1, n)));
  CHECK(must(sub.wait()).sequence() == 200);
}

TEST_CASE("loans become visible in the order in which they were taken, and abandoned ones are no loss") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t"));
  auto sub = must(bus.subscriber<checked>("t"));
  auto first = must(pub.try_loan());
  auto second = must(pub.try_loan());
  *second = checked::make(1, 1);
  std::move(second).publish();
  CHECK_FALSE(must(sub.poll()));
  *first = checked::make(1, 0);
  std::move(first).publish();
  receive(sub, 0, 2);
  {
    const auto abandoned = must(pub.try_loan());
  }
  REQUIRE(pub.publish(checked::make(1, 2)));
  const auto got = must(sub.wait());
  CHECK(got->number == 2);
  CHECK(got.sequence() == 3);
  CHECK(sub.lost() == 0);
}

TEST_CASE("abandoned loans leave no trace, wherever in the ring they were") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t", {.capacity_bytes = 4096}));
  auto sub = must(bus.subscriber<checked>("t", {.samples_max = 3}));
  std::uint64_t n = 0, next = 0;
  for (int i = 0; i < 5000; ++i) {
    auto loan = must(pub.loan_for(10s));
    if (i % 3 == 0) continue;
    *loan = checked::make(1, n++);
    std::move(loan).publish();
    if (i % 7 == 0) receive(sub, std::exchange(next, n), n);
  }
  receive(sub, next, n);
  CHECK(sub.lost() == 0);
}

TEST_CASE("under block and fail nothing is lost to a subscriber that does not read") {
  const meeting here(this_way());
  auto bus = here.open();
  for (const policy p : {policy::block, policy::fail}) {
    auto pub = must(bus.publisher<checked>("t", {.policy = p, .capacity_bytes = 8192}));
    auto sub = must(bus.subscriber<checked>("t"));
    const std::uint64_t published = fill(pub, 0);
    CHECK(published > 50);
    const auto refused = pub.publish(checked::make(1, published));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == errc::would_block);
    if (p == policy::block) {
      CHECK(pub.publish_for(checked::make(1, published), 5ms).error().code() == errc::timed_out);
    }
    CHECK(pub.blocked_by().pid == static_cast<std::uint32_t>(::getpid()));
    receive(sub, 0, published);
    REQUIRE(pub.publish_for(checked::make(1, published), 10s));
    CHECK(sub.lost() == 0);
  }
}

TEST_CASE("under overwrite, and to lossy subscribers, what is lost is counted exactly") {
  const meeting here(this_way());
  auto bus = here.open();
  for (const policy p : {policy::overwrite, policy::block}) {
    auto pub = must(bus.publisher<checked>("t", {.policy = p, .capacity_bytes = 8192}));
    auto sub = must(bus.subscriber<checked>("t", {.mode = quoit::mode::lossy}));
    const std::uint64_t published = 5000;
    for (std::uint64_t n = 0; n < published; ++n) REQUIRE(pub.publish(checked::make(1, n)));
    std::uint64_t next = 0, lost = 0;
    // The newest is never lost: there is nothing behind it.
    while (next < published) {
      auto got = sub.wait();
      if (!got) {
        REQUIRE(got.error().code() == errc::lagged);
        lost += got.error().value();
        next += got.error().value();
        continue;
      }
      REQUIRE((*got)->intact());
      REQUIRE((*got)->number == next++);
    }
    CHECK(lost > 0);
    CHECK(sub.lost() == lost);
  }
}

TEST_CASE("a held sample does not change, and keeps nobody from receiving what a lossy subscription may hold") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t", {.policy = policy::overwrite, .capacity_bytes = 16384}));
  auto sub = must(bus.subscriber<checked>("t", {.samples_max = 3}));
  REQUIRE(pub.publish(checked::make(1, 0)));
  const auto held = must(sub.wait());
  for (std::uint64_t n = 1; n < 3000; ++n) {
    REQUIRE(pub.publish(checked::make(1, n)));
    auto got = sub.wait();
    if (!got) {
      REQUIRE(got.error().code() == errc::lagged);
    } else {
      REQUIRE((*got)->intact());
    }
  }
  CHECK(held->number == 0);
  CHECK(held->intact());
}

TEST_CASE("samples that are held by a reliable subscription hold up its publisher, and no longer") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t", {.capacity_bytes = 8192}));
  auto sub = must(bus.subscriber<checked>("t", {.samples_max = 2}));
  REQUIRE(pub.publish(checked::make(1, 0)));
  auto held = must(sub.wait());
  const std::uint64_t published = fill(pub, 1);
  std::uint64_t got = 1;
  while (auto next = must(sub.poll())) REQUIRE(next->number == got++);
  CHECK(held->number == 0);
  held.release();
  receive(sub, got, published);
  CHECK(pub.publish_for(checked::make(1, published), 10s).has_value());
}

TEST_CASE("a subscriber that comes late begins where it asked to") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t", {.history = 50}));
  auto early = must(bus.subscriber<checked>("t", {.mode = quoit::mode::lossy}));
  for (std::uint64_t n = 0; n < 40; ++n) REQUIRE(pub.publish(checked::make(1, n)));
  auto all = must(bus.subscriber<checked>("t", {.start = quoit::start::earliest}));
  auto some = must(bus.subscriber<checked>("t", {.start = quoit::start::last(5)}));
  auto none = must(bus.subscriber<checked>("t"));
  REQUIRE(pub.publish(checked::make(1, 40)));
  receive(all, 0, 41);
  receive(some, 35, 41);
  const auto got = must(none.wait());
  CHECK(got->number == 40);
  CHECK(got.sequence() == 40);
}

namespace before {
struct tick {
  double bid, ask;
};
QUOIT_FIELDS(tick, bid, ask)
}  // namespace before
namespace after {
struct tick {
  double bid;
  std::uint64_t ask;
};
QUOIT_FIELDS(tick, bid, ask)
}  // namespace after

TEST_CASE("of two types of one name and size it is said which field differs") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<before::tick>("t"));
  const std::string difference = "field ask is f64 at byte 8, asked for as u64 at byte 8";
  const auto sub = bus.subscriber<after::tick>("t");
  const auto other = bus.publisher<after::tick>("t");
  REQUIRE_FALSE(sub);
  REQUIRE_FALSE(other);
  CHECK(sub.error() == errc::type_mismatch);
  CHECK_MESSAGE(sub.error().message().ends_with(difference), sub.error().message());
  CHECK(other.error().message().ends_with(difference));
}

TEST_CASE("another type is refused with the words of both sides") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t"));
  const auto sub = bus.subscriber<quoit::text>("t");
  REQUIRE_FALSE(sub);
  CHECK(sub.error().code() == errc::type_mismatch);
  CHECK(sub.error().message().find("checked") != std::string::npos);
  CHECK(sub.error().message().find("text") != std::string::npos);
}

TEST_CASE("modes that cannot be had are refused, whoever comes first") {
  const meeting here(this_way());
  auto bus = here.open();
  {
    auto pub = must(bus.publisher<checked>("t", {.policy = policy::overwrite}));
    CHECK(bus.subscriber<checked>("t", {.mode = quoit::mode::reliable}).error().code() == errc::policy_conflict);
  }
  {
    auto sub = must(bus.subscriber<checked>("t", {.mode = quoit::mode::reliable}));
    CHECK(bus.publisher<checked>("t", {.policy = policy::overwrite}).error().code() == errc::policy_conflict);
  }
  auto pub = must(bus.publisher<checked>("t", {.lossy_subscribers = false}));
  CHECK(bus.subscriber<checked>("t", {.mode = quoit::mode::lossy}).error().code() == errc::policy_conflict);
}

TEST_CASE("the limits of a topic are those of whoever made it") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = must(bus.publisher<checked>("t", {.limits = {.publishers_max = 1, .subscriptions_max = 1}}));
  CHECK(bus.publisher<checked>("t").error().code() == errc::limit_reached);
  auto sub = must(bus.subscriber<checked>("t"));
  CHECK(bus.subscriber<checked>("t").error().code() == errc::limit_reached);
}

TEST_CASE("handles may be closed in any order, and a sample outlives them") {
  const meeting here(this_way());
  quoit::sample<checked> sample;
  {
    auto bus = std::make_unique<quoit::bus>(here.open());
    auto pub = std::make_unique<publisher>(must(bus->publisher<checked>("t")));
    auto sub = std::make_unique<subscriber>(must(bus->subscriber<checked>("t")));
    bus.reset();
    REQUIRE(pub->publish(checked::make(1, 0)));
    REQUIRE(pub->publish(checked::make(1, 1)));
    {
      const auto lost_with_its_publisher = must(pub->try_loan());
      pub.reset();
    }
    receive(*sub, 0, 1);
    sample = must(sub->wait());
    until([&] { return sub->publishers() == 0; });
    sub.reset();
  }
  CHECK(sample->number == 1);
  CHECK(sample->intact());
}

TEST_CASE("what a publisher published before it left is received") {
  const meeting here(this_way());
  auto bus = here.open();
  auto sub = must(bus.subscriber<checked>("t"));
  std::uint64_t published = 0;
  {
    auto pub = must(bus.publisher<checked>("t", {.capacity_bytes = 65536}));
    published = fill(pub, 0);
  }
  receive(sub, 0, published);
  CHECK_FALSE(must(sub.poll()));
}

TEST_CASE("several publishers and subscribers each have an order of their own") {
  const meeting here(this_way());
  auto bus = here.open();
  std::vector<publisher> pubs;
  std::vector<subscriber> subs;
  for (int i = 0; i < 3; ++i) {
    pubs.push_back(must(bus.publisher<checked>("t")));
    subs.push_back(must(bus.subscriber<checked>("t")));
  }
  for (auto& pub : pubs) CHECK(pub.subscribers() == 3);
  for (std::uint64_t n = 0; n < 100; ++n) {
    for (std::uint64_t p = 0; p < 3; ++p) REQUIRE(pubs[p].publish(checked::make(p, n)));
  }
  for (auto& sub : subs) {
    std::uint64_t next[3] = {};
    for (int n = 0; n < 300; ++n) {
      const auto got = must(sub.wait());
      REQUIRE(got->number == next[got->publisher]++);
    }
  }
}

TEST_CASE("a wait ends with its time, and one for several names who has something") {
  const meeting here(this_way());
  auto bus = here.open();
  auto a = must(bus.subscriber<checked>("a"));
  auto b = must(bus.subscriber<quoit::text>("b"));
  CHECK(a.wait(2ms).error().code() == errc::timed_out);
  CHECK(bus.wait_any(2ms, a, b).error().code() == errc::timed_out);
  auto pub = must(bus.publisher<quoit::text>("b"));
  REQUIRE(pub.publish("here"));
  CHECK(must(bus.wait_any(10s, a, b)) == 1);
  CHECK(*must(b.poll()) == "here");
}

TEST_CASE("a flush waits until the death of the publisher cannot take anything back") {
  const auto way = this_way();
  const meeting here(way);
  auto bus = here.open();
  auto sub = must(bus.subscriber<checked>("t"));
  int reported[2], asked[2];
  REQUIRE(::pipe(reported) == 0);
  REQUIRE(::pipe(asked) == 0);
  child dies([&]() -> int {
    auto its = here.open();
    auto pub = its.publisher<checked>("t", {.capacity_bytes = 4096}).value();
    char go = 0;
    if (::write(reported[1], &go, 1) != 1 || ::read(asked[0], &go, 1) != 1) return 5;
    const std::uint64_t published = fill(pub, 0);
    // Nobody reads: in shared memory it is there all the same.
    const bool at_once = pub.flush_for(30ms).has_value();
    if (at_once != (way == quoit::transport::shared_memory)) return 1;
    if (::write(reported[1], &published, sizeof published) != sizeof published) return 2;
    if (!pub.flush_for(30s)) return 3;
    ::raise(SIGKILL);
    return 4;
  });
  char go = 0;
  REQUIRE(::read(reported[0], &go, 1) == 1);
  // In sealed memory a lane goes with its publisher, but for those who have begun to read it.
  CHECK_FALSE(must(sub.poll()));
  REQUIRE(::write(asked[1], &go, 1) == 1);
  std::uint64_t published = 0;
  REQUIRE(::read(reported[0], &published, sizeof published) == sizeof published);
  for (const int end : {reported[0], reported[1], asked[0], asked[1]}) ::close(end);
  receive(sub, 0, published);
  CHECK(dies.wait().signal == SIGKILL);
  bus.clean_up();
  CHECK_FALSE(must(sub.poll()));
  CHECK(sub.lost() == 0);
}

TEST_CASE("the listing shows what was published, received, lost and refused") {
  const auto way = this_way();
  const meeting here(way);
  auto bus = here.open();
  const auto seen = [&] { return must(here.inspect()).topics.at(0); };
  auto pub = must(bus.publisher<checked>("t", {.capacity_bytes = 8192}));
  {
    auto sub = must(bus.subscriber<checked>("t"));
    for (std::uint64_t n = 0; n < 40; ++n) REQUIRE(pub.publish(checked::make(1, n)));
    CHECK(seen().publishers.at(0).messages == 40);
    CHECK(seen().publishers.at(0).message_bytes == 40 * sizeof(checked));
    receive(sub, 0, 40);
    CHECK(sub.wait(1ms).error().code() == errc::timed_out);
    CHECK(seen().subscriptions.at(0).received == 40);
    const std::uint64_t published = fill(pub, 40);
    CHECK(seen().publishers.at(0).messages == published);
    CHECK(seen().publishers.at(0).refused > 0);
    // In shared memory nobody slept.
    CHECK((seen().publishers.at(0).wakes > 0) == (way == quoit::transport::kernel));
  }
  auto lossy = must(bus.subscriber<checked>("t", {.mode = quoit::mode::lossy}));
  for (std::uint64_t n = 0; n < 5000; ++n) REQUIRE(pub.publish(checked::make(1, n)));
  std::uint64_t received = 0;
  for (auto got = lossy.wait(30ms); got || got.error() == errc::lagged; got = lossy.wait(30ms)) {
    received += got.has_value();
  }
  CHECK(lossy.lost() > 0);
  CHECK(seen().subscriptions.at(0).lost == lossy.lost());
  CHECK(seen().subscriptions.at(0).received == received);
}
