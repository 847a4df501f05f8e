// A lane that holds what no publisher writes is said once, and left; the other publishers' messages go on.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <unistd.h>

#include <quoit.hpp>
#include <string>

#include "support/bus_guard.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::mode;

namespace {

std::string lane_file(const bus_guard& bus, int generation, const char* end = "") {
  return "/dev/shm/quoit." + bus.name() + ".t@" + std::to_string(generation) + end;
}

template <class T>
void overwrite(const std::string& file, off_t at, const T& value) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  REQUIRE(::pwrite(fd, &value, sizeof value, at) == sizeof value);
  ::close(fd);
}

// The header of the frame at this place, which is in the first lap.
void spoil_frame(const bus_guard& bus, int generation, off_t position, std::uint64_t header) {
  overwrite(lane_file(bus, generation), 4096 + position, header);
}

constexpr off_t frame_bytes = 8 + sizeof(checked);
constexpr std::uint64_t no_frame = 0x000000027fffffff;      // a message larger than any
constexpr std::uint64_t unknown_flag = 0x0000008200000040;  // a message with flag 8

}  // namespace

TEST_CASE("a frame that no publisher writes is said once, with its file, and the other lanes go on") {
  for (const bool newer : {false, true}) {
    for (const mode how : {mode::reliable, mode::lossy, mode::observer}) {
      const bus_guard name;
      auto bus = quoit::bus::open(name.name()).value();
      auto bad = bus.publisher<checked>("t", {.capacity_bytes = 8192}).value();
      auto good = bus.publisher<checked>("t").value();
      auto sub = bus.subscriber<checked>("t", {.mode = how}).value();
      REQUIRE(bad.publish(checked::make(1, 0)));
      REQUIRE(bad.publish(checked::make(1, 1)));
      spoil_frame(name, 1, frame_bytes, newer ? unknown_flag : no_frame);
      CHECK(sub.wait(60s).value()->publisher == 1);
      const auto why = sub.wait(60s);
      REQUIRE_FALSE(why);
      CHECK(why.error() == (newer ? errc::newer_version : errc::corrupt));
      CHECK(why.error().message().find(lane_file(name, 1)) != std::string::npos);
      CHECK(sub.wait(5ms).error() == errc::timed_out);
      for (std::uint64_t n = 0; n < 3; ++n) {
        REQUIRE(good.publish(checked::make(2, n)));
        CHECK(sub.wait(60s).value()->number == n);
      }
      // Its publisher, if it still lives, waits for nobody who does not read it any more.
      for (std::uint64_t n = 0; n < 1000; ++n) REQUIRE(bad.publish(checked::make(1, n)));
      CHECK_FALSE(sub.poll().value());
    }
  }
}

TEST_CASE("a sample of a lane that is found corrupt behind it stays, also where there is no other lane") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto bad = bus.publisher<checked>("t", {.capacity_bytes = 8192}).value();
  auto sub = bus.subscriber<checked>("t").value();
  REQUIRE(bad.publish(checked::make(1, 0)));
  REQUIRE(bad.publish(checked::make(1, 1)));
  spoil_frame(name, 1, frame_bytes, no_frame);
  auto held = sub.poll().value();
  CHECK(sub.poll().error() == errc::corrupt);
  CHECK_FALSE(sub.poll().value());
  while (bad.publish(checked::make(1, 2))) {
  }
  CHECK(held->intact());
  CHECK(held->number == 0);
  held.release();
  CHECK_FALSE(sub.poll().value());
  CHECK(bad.publish(checked::make(1, 2)));
  {
    const auto gone = std::move(bad);
  }
  auto next = bus.publisher<checked>("t").value();
  REQUIRE(next.publish(checked::make(3, 7)));
  CHECK(sub.wait(60s).value()->number == 7);
}

TEST_CASE("a lane that makes no sense when it is opened is an error of an observer once, and refused to others") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto bad = bus.publisher<checked>("t").value();
  auto good = bus.publisher<checked>("t").value();
  overwrite(lane_file(name, 1), 64, std::uint64_t{12345});  // ring_bytes
  auto seen = bus.subscriber<checked>("t", {.mode = mode::observer}).value();
  const auto why = seen.poll();
  REQUIRE_FALSE(why);
  CHECK(why.error() == errc::corrupt);
  CHECK(why.error().message().find(lane_file(name, 1)) != std::string::npos);
  CHECK(why.error().message().find("remove it") != std::string::npos);
  CHECK_FALSE(seen.poll().value());
  REQUIRE(good.publish(checked::make(1, 0)));
  CHECK(seen.wait(60s).value()->number == 0);
  const auto refused = bus.subscriber<checked>("t");
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::corrupt);
  CHECK(refused.error().message().find(lane_file(name, 1)) != std::string::npos);
}

TEST_CASE("a lane that comes and makes no sense is an error once, and its publisher is not held up") {
  for (const mode how : {mode::automatic, mode::observer}) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    auto good = bus.publisher<checked>("t").value();
    auto sub = bus.subscriber<checked>("t", {.mode = how}).value();
    auto bad = bus.publisher<checked>("t", {.capacity_bytes = 8192}).value();
    overwrite(lane_file(name, 2), 64, std::uint64_t{12345});
    CHECK(sub.wait(60s).error() == errc::corrupt);
    CHECK(sub.wait(5ms).error() == errc::timed_out);
    for (std::uint64_t n = 0; n < 1000; ++n) REQUIRE(bad.publish(checked::make(1, n)));
    auto third = bus.publisher<checked>("t").value();
    REQUIRE(third.publish(checked::make(2, 5)));
    CHECK(sub.wait(60s).value()->number == 5);
  }
}

TEST_CASE("a lane of another layout is refused with both versions, in either of its files") {
  for (const char* end : {"", "s"}) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name()).value();
    auto pub = bus.publisher<checked>("t").value();
    overwrite(lane_file(name, 1, end), 8, std::uint16_t{9});
    const auto refused = bus.subscriber<checked>("t");
    REQUIRE_FALSE(refused);
    CHECK(refused.error() == errc::newer_version);
    const std::string words = refused.error().message();
    CHECK(words.find(lane_file(name, 1, end)) != std::string::npos);
    CHECK(words.find("layout 9." + std::to_string(quoit::detail::layout_minor)) != std::string::npos);
    CHECK(words.find("layout " + std::to_string(quoit::detail::layout_major) + "." +
                     std::to_string(quoit::detail::layout_minor)) != std::string::npos);
    overwrite(lane_file(name, 1, end), 8, std::uint16_t{1});
  }
}
