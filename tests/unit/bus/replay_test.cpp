// Topics on disk without a bus.
#include <doctest/doctest.h>

#include <sched.h>
#include <sys/mount.h>

#include <quoit.hpp>

#include "storage/subscription_file.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

struct tick {
  std::uint64_t number;
  double price;
};
QUOIT_FIELDS(tick, number, price)

log_writer_options ticks(const scratch_directory& directory, const std::string& name) {
  auto o = small_log(directory);
  o.topic = "ticks";
  o.name = name;
  const std::string fields = fields_of<tick>();
  const message_type type = described_as<tick>(fields);
  o.kind.type_name = std::string(type.name);
  o.kind.type_fields = fields;
  o.kind.type_bytes = sizeof(tick);
  o.kind.payload_bytes_max = sizeof(tick);
  return o;
}

void publish(log_writer& w, std::uint64_t number) {
  lane_claim claim;
  REQUIRE(claim_waiting(w, sizeof(tick), claim) == append_status::ok);
  const tick t{number, static_cast<double>(number) / 2};
  std::memcpy(claim.payload, &t, sizeof t);
  w.appender().commit(claim, sizeof t);
}

}  // namespace

TEST_CASE("a topic on disk is replayed without a bus, with who published and when") {
  const scratch_directory directory;
  const auto a = open_log(ticks(directory, "a"));
  const auto b = open_log(ticks(directory, "b"));
  for (std::uint64_t n = 0; n < 100; ++n) {
    ::usleep(3);
    publish(n % 2 == 0 ? *a : *b, n);
  }
  auto all = quoit::replay<tick>::open(directory.path(), "ticks").value();
  std::chrono::sys_time<std::chrono::nanoseconds> last{};
  for (std::uint64_t n = 0; n < 100; ++n) {
    const auto sample = all.poll().value();
    REQUIRE(static_cast<bool>(sample));
    CHECK(sample->number == n);
    CHECK(sample->price == static_cast<double>(n) / 2);
    CHECK(sample.publisher_name() == (n % 2 == 0 ? "a" : "b"));
    CHECK(sample.sequence() == n / 2);
    CHECK(sample.time() >= last);
    last = sample.time();
  }
  CHECK(!all.poll().value());
  // What is published meanwhile comes too, also of a publisher who comes meanwhile.
  publish(*a, 100);
  CHECK(all.poll().value()->number == 100);
  const auto c = open_log(ticks(directory, "c"));
  publish(*c, 101);
  for (;;) {
    const auto sample = all.poll().value();
    if (!sample) continue;
    CHECK(sample->number == 101);
    CHECK(sample.publisher_name() == "c");
    break;
  }
  CHECK(all.publishers() == 3);
  const auto info = all.type();
  REQUIRE(info);
  CHECK(info->name == "tick");
  CHECK(info->bytes == sizeof(tick));
  CHECK(info->fields.find("price") != std::string::npos);
}

TEST_CASE("a replay goes anywhere, and on from a cursor that was text") {
  const scratch_directory directory;
  const auto a = open_log(ticks(directory, "a"));
  for (std::uint64_t n = 0; n < 5000; ++n) publish(*a, n);
  auto r = quoit::replay<tick>::open(directory.path(), "ticks", {.start = quoit::start::last(10)}).value();
  auto sample = r.poll().value();
  CHECK(sample->number == 4990);
  const auto refused = r.seek(quoit::start::earliest);
  REQUIRE(!refused.has_value());
  CHECK(refused.error() == quoit::errc::busy);
  CHECK(refused.error().value() == 1);
  sample.release();
  REQUIRE(r.seek(quoit::start::sequence(1234)).has_value());
  for (std::uint64_t n = 1234; n < 2000; ++n) CHECK(r.poll().value()->number == n);
  const std::string text = r.position().value().to_string();
  const auto place = quoit::cursor::parse(text).value();
  auto other = quoit::replay<tick>::open(directory.path(), "ticks", {.start = quoit::start::at(place)}).value();
  CHECK(other.poll().value()->number == 2000);
  REQUIRE(r.seek(quoit::start::earliest).has_value());
  std::uint64_t n = 0;
  for (;;) {
    auto batch = r.poll_batch().value();
    if (!batch) break;
    for (const tick& t : batch) CHECK(t.number == n++);
  }
  CHECK(n == 5000);
  CHECK(r.lost() == 0);
}

TEST_CASE("the bytes of any topic on disk are read by who asks for them") {
  const scratch_directory directory;
  publish(*open_log(ticks(directory, "a")), 7);
  const auto typed = quoit::replay<quoit::bytes>::open(directory.path(), "ticks");
  REQUIRE(!typed.has_value());
  CHECK(typed.error() == quoit::errc::type_mismatch);
  CHECK(typed.error().words().find("the type is named tick, asked for named bytes; size 16, asked for variable") !=
        std::string_view::npos);
  auto raw = quoit::replay<quoit::bytes>::open_any(directory.path(), "ticks").value();
  const auto sample = raw.poll().value();
  REQUIRE((*sample).size() == sizeof(tick));
  tick t{};
  std::memcpy(&t, sample.data().data(), sizeof t);
  CHECK(t.number == 7);
  CHECK(raw.type()->name == "tick");
}

TEST_CASE("a replay of what is not there says so") {
  const scratch_directory directory;
  for (const char* const where : {"/nowhere/at/all", directory.path().c_str()}) {
    const auto r = quoit::replay<tick>::open(where, "ticks");
    REQUIRE(!r.has_value());
    CHECK(r.error() == quoit::errc::not_found);
    CHECK(r.error().words().find(where) != std::string_view::npos);
  }
  const auto r = quoit::replay<tick>::open(directory.path(), "no spaces");
  REQUIRE(!r.has_value());
  CHECK(r.error() == quoit::errc::invalid_name);
}

TEST_CASE("a replay holds as many samples as it may, and what it holds stays") {
  const scratch_directory directory;
  const auto a = open_log(ticks(directory, "a"));
  for (std::uint64_t n = 0; n < 5000; ++n) publish(*a, n);
  auto r = quoit::replay<tick>::open(directory.path(), "ticks", {.samples_max = 2}).value();
  auto first = r.poll().value();
  const auto second = r.poll().value();
  const auto third = r.poll();
  REQUIRE(!third.has_value());
  CHECK(third.error() == quoit::errc::too_many_samples);
  second.publisher();
  first.release();
  for (std::uint64_t n = 2; n < 5000; ++n) CHECK(r.poll().value()->number == n);
  CHECK(second->number == 1);
  // The samples keep what they need of it.
  quoit::sample<tick> kept;
  {
    auto gone = quoit::replay<tick>::open(directory.path(), "ticks").value();
    kept = gone.poll().value();
  }
  CHECK(kept->number == 0);
}

TEST_CASE("a replay reads what lies on a read-only file system, while a named subscription has no place there") {
  const scratch_directory directory;
  {
    const auto a = open_log(ticks(directory, "a"));
    for (std::uint64_t n = 0; n < 5000; ++n) publish(*a, n);
  }
  constexpr int not_allowed = 77;
  // In a mount namespace of its own, where the directory is read-only.
  quoit::test::child reading([&] {
    const char* const path = directory.path().c_str();
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount(path, path, nullptr, MS_BIND, nullptr) != 0 ||
        ::mount(path, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      return not_allowed;
    }
    auto r = quoit::replay<tick>::open(directory.path(), "ticks");
    if (!r) return 1;
    std::uint64_t n = 0;
    for (;;) {
      auto sample = r->poll();
      if (!sample) return 2;
      if (!*sample) break;
      if ((*sample)->number != n++) return 3;
    }
    if (n != 5000) return 4;
    const auto named = subscription_file::open(directory.path(), "ticks", "audit");
    return !named && named.error() == quoit::errc::no_permission ? 0 : 5;
  });
  const ending how = reading.wait();
  if (how.status == not_allowed) QUOIT_SKIP("mounting is not allowed here");
  CHECK(how.status == 0);
}
