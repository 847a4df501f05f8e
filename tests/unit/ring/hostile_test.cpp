// What another process wrote is input: nothing of it may crash, hang or reach outside the lane.
#include <doctest/doctest.h>

#include <random>

#include "support/lane_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

// Reads what comes, a bounded number of times, and touches every byte.
void read_whatever(lane_reader& r) {
  u64 sum = 0;
  lane_frame held[3];
  u32 count = 0;
  for (int i = 0; i < 200; ++i) {
    lane_frame frame;
    if (r.take(frame) == take_status::message) {
      for (u32 at = 0; at < frame.payload_bytes; ++at) sum += static_cast<u64>(frame.payload[at]);
      if (count < 3) {
        held[count++] = frame;
      } else {
        r.release(frame);
      }
    }
    if (i % 7 == 6) {
      while (count > 0) r.release(held[--count]);
    }
    r.ready();
    r.look_at_state();
  }
  CHECK(sum + 1 != 0);
}

void scramble(std::mt19937_64& random, std::byte* at, std::size_t bytes, int how_many) {
  for (int i = 0; i < how_many; ++i) {
    const std::size_t word = random() % (bytes / 8);
    u64 value = random();
    if (random() % 3 == 0) value &= 0xff;
    if (random() % 3 == 0)
      value = frame_header::make(static_cast<u32>(random() % 300), static_cast<frame_kind>(random() % 6),
                                 static_cast<u8>(random() % 4), random() % 8)
                  .word;
    std::memcpy(at + word * 8, &value, 8);
  }
}

}  // namespace

TEST_CASE("noise in a lane's ring, checkpoints and slots neither crashes nor hangs its readers") {
  std::mt19937_64 random(1);
  for (int round = 0; round < (fast() ? 300 : 3000); ++round) {
    const lane l;
    auto w = l.writer();
    const u64 messages = random() % 60;
    for (u64 i = 0; i < messages; ++i) publish(*w, i, 8 * static_cast<u32>(1 + random() % 7));
    scramble(random, l.memory().data, l.geometry.ring_bytes, static_cast<int>(1 + random() % 40));
    if (round % 2 == 0) {
      scramble(random, reinterpret_cast<std::byte*>(l.head().checkpoints), sizeof l.head().checkpoints, 20);
    }
    if (round % 3 == 0) l.head().reserved = random() % 5 == 0 ? random() : l.geometry.stride_bytes * (random() % 40);
    if (round % 5 == 0) l.slots().state = random() % 4;
    if (round % 7 == 0) l.head().committed = random();
    for (const auto how : {lane_reader::reading::lossy, lane_reader::reading::reliable}) {
      auto r = l.reader(how, 1);
      const bool started = round % 4 == 0   ? r->start_at_latest()
                           : round % 4 == 1 ? r->start_with_history(random() % 50)
                                            : (r->start_at_first(), true);
      if (started) read_whatever(*r);
    }
  }
}

TEST_CASE("noise in the slots neither crashes nor hangs the writer") {
  std::mt19937_64 random(2);
  for (int round = 0; round < (fast() ? 300 : 3000); ++round) {
    const lane l;
    auto w = l.writer();
    for (int i = 0; i < 200; ++i) {
      lane_claim claim;
      if (w->claim(static_cast<u32>(random() % 57), claim) == claim_status::ok) {
        std::memset(claim.payload, 1, claim.payload_bytes);
        w->commit(claim, claim.payload_bytes);
      }
      if (i % 5 == 0) {
        l.slots().reliable_active[0] = random();
        l.slots().lossy_active[0] = random();
        for (u32 s = 0; s < l.geometry.subscriptions; ++s) l.slots().slot[s].place = random() >> (random() % 64);
        l.slots().waiting = random();
      }
    }
  }
}

TEST_CASE("an heir of a lane full of noise refuses it or goes on, and stays inside") {
  std::mt19937_64 random(3);
  int refused = 0, accepted = 0;
  for (int round = 0; round < (fast() ? 300 : 3000); ++round) {
    const lane l;
    auto w = l.writer();
    const u64 messages = random() % 60;
    for (u64 i = 0; i < messages; ++i) publish(*w, i, 8 * static_cast<u32>(1 + random() % 7));
    w.reset();
    scramble(random, l.memory().data, l.geometry.ring_bytes, static_cast<int>(random() % 4));
    if (round % 3 == 0) {
      scramble(random, reinterpret_cast<std::byte*>(l.head().checkpoints), sizeof l.head().checkpoints, 5);
    }
    auto h = l.heir();
    (h != nullptr ? accepted : refused)++;
    if (h == nullptr) continue;
    for (u64 i = 0; i < 100; ++i) publish(*h, i, 8);
  }
  CHECK(refused > 0);
  CHECK(accepted > 0);
}

TEST_CASE("every field of a lane's headers is checked before it is used") {
  std::mt19937_64 random(4);
  const lane good;
  REQUIRE(read_geometry(good.head(), good.data_bytes(), good.slots(), good.slots_file_bytes()));
  const std::size_t fields = offsetof(lane_header, publisher_id);
  int refused = 0;
  for (int round = 0; round < (fast() ? 2000 : 20000); ++round) {
    const lane l;
    auto* const head = reinterpret_cast<std::byte*>(&l.head());
    auto* const slots = reinterpret_cast<std::byte*>(&l.slots());
    const std::size_t at = random() % fields;
    const std::size_t width = std::min<std::size_t>(std::size_t{1} << (random() % 4), fields - at);
    const u64 value = random() % 3 == 0 ? u64{1} << (random() % 64) : random();
    std::memcpy(
        (round % 3 == 0 ? slots + at % sizeof(segment_prefix) : head + at), &value,
        round % 3 == 0 ? std::min<std::size_t>(width, sizeof(segment_prefix) - at % sizeof(segment_prefix)) : width);
    const auto geometry = read_geometry(l.head(), l.data_bytes(), l.slots(), l.slots_file_bytes());
    if (!geometry) {
      const auto code = geometry.error().code();
      CHECK((code == quoit::errc::corrupt || code == quoit::errc::newer_version));
      ++refused;
      continue;
    }
    // What was accepted lies inside what is there.
    CHECK(geometry->data_offset() + geometry->ring_bytes <= l.data_bytes());
    CHECK(slots_bytes(geometry->subscriptions) <= l.slots_file_bytes());
    auto r = std::make_unique<lane_reader>(l.memory(), *geometry, 0, lane_reader::reading::lossy, 4u, lane_poke{});
    if (r->start_at_latest()) read_whatever(*r);
  }
  CHECK(refused > 100);
}

TEST_CASE("files that are shorter than their headers say are refused") {
  const lane l;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{8}, std::size_t{4095}, l.data_bytes() - 4096}) {
    const auto geometry = read_geometry(l.head(), bytes, l.slots(), l.slots_file_bytes());
    REQUIRE_FALSE(geometry);
    CHECK(geometry.error().code() == quoit::errc::corrupt);
  }
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{639}, std::size_t{640}}) {
    CHECK_FALSE(read_geometry(l.head(), l.data_bytes(), l.slots(), bytes));
  }
}

TEST_CASE("another layout version is said with both numbers") {
  const lane l;
  l.head().prefix.layout_major = 9;
  const auto geometry = read_geometry(l.head(), l.data_bytes(), l.slots(), l.slots_file_bytes());
  REQUIRE_FALSE(geometry);
  CHECK(geometry.error().code() == quoit::errc::newer_version);
  CHECK(geometry.error().message().find("layout 9." + std::to_string(quoit::detail::layout_minor)) !=
        std::string::npos);
  CHECK(geometry.error().message().find("layout 1") != std::string::npos);
}
