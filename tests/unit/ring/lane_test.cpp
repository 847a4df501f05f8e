#include <doctest/doctest.h>

#include "ring/waiting_writer.hpp"
#include "support/lane_fixture.hpp"

using namespace quoit::test;

namespace {

constexpr auto message = take_status::message;
constexpr auto nothing = take_status::nothing;

// Publishes until the lane refuses: how many fitted.
u64 fill_up(lane_writer& w, u64 first = 0) {
  u64 n = first;
  while (n < first + 10'000 && publish(w, n) == claim_status::ok) ++n;
  return n - first;
}

}  // namespace

TEST_CASE("a message is seen once it is committed, and not before") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  lane_claim claim;
  REQUIRE(w->claim(56, claim) == claim_status::ok);
  fill(claim, 7);
  CHECK_FALSE(next(*r));
  CHECK(w->commit(claim, 56));
  CHECK(next(*r) == 7);
  CHECK_FALSE(next(*r));
}

TEST_CASE("an old loan hides what the same publisher publishes after it") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  lane_claim older, newer;
  REQUIRE(w->claim(56, older) == claim_status::ok);
  REQUIRE(w->claim(56, newer) == claim_status::ok);
  fill(newer, 2);
  CHECK_FALSE(w->commit(newer, 56));  // nothing to see yet: nobody is woken
  CHECK_FALSE(next(*r));
  fill(older, 1);
  CHECK(w->commit(older, 56));
  CHECK(next(*r) == 1);
  CHECK(next(*r) == 2);
}

TEST_CASE("an abandoned loan spends its sequence and is delivered to nobody") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  publish(*w, 0);
  lane_claim claim;
  REQUIRE(w->claim(56, claim) == claim_status::ok);
  CHECK(w->abandon(claim));
  publish(*w, 2);
  lane_frame frame;
  REQUIRE(r->take(frame) == message);
  CHECK(frame.sequence == 0);
  r->release(frame);
  REQUIRE(r->take(frame) == message);
  CHECK(frame.sequence == 2);
  CHECK(number_of(frame) == 2);
  CHECK(r->lost_total() == 0);
}

TEST_CASE("a loan can be cut when it is published, whether it is the newest or not") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  lane_claim older, newer;
  REQUIRE(w->claim(56, older) == claim_status::ok);
  REQUIRE(w->claim(56, newer) == claim_status::ok);
  fill(older, 1);
  fill(newer, 2);
  w->commit(newer, 16);
  w->commit(older, 8);
  publish(*w, 3);
  lane_frame frame;
  REQUIRE(r->take(frame) == message);
  CHECK(frame.payload_bytes == 8);
  r->release(frame);
  REQUIRE(r->take(frame) == message);
  CHECK(frame.payload_bytes == 16);
  CHECK(number_of(frame) == 2);
  r->release(frame);
  CHECK(next(*r) == 3);
}

TEST_CASE("messages of any size keep their contents over many laps") {
  lane_request request = small_lane();
  request.payload_bytes_max = 200;
  const lane l(request);
  auto w = l.writer();
  auto r = l.reliable();
  for (u64 i = 0; i < 5'000; ++i) {
    const u32 bytes = static_cast<u32>((i * 37) % 201);
    lane_claim claim;
    REQUIRE(w->claim(bytes, claim) == claim_status::ok);
    std::memset(claim.payload, static_cast<int>(i & 0xff), bytes);
    w->commit(claim, bytes);
    lane_frame frame;
    REQUIRE(r->take(frame) == message);
    REQUIRE(frame.payload_bytes == bytes);
    REQUIRE(frame.sequence == i);
    for (u32 at = 0; at < bytes; ++at) REQUIRE(frame.payload[at] == static_cast<std::byte>(i & 0xff));
    r->release(frame);
  }
}

TEST_CASE("an empty message is a message") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  lane_claim claim;
  REQUIRE(w->claim(0, claim) == claim_status::ok);
  w->commit(claim, 0);
  lane_frame frame;
  REQUIRE(r->take(frame) == message);
  CHECK(frame.payload_bytes == 0);
}

TEST_CASE("a reliable reader is a wall, and the refusal names it") {
  const lane l;
  auto w = l.writer();
  auto r = l.reliable(2);
  const u64 room = fill_up(*w);
  CHECK(room > 0);
  CHECK(publish(*w, 0) == claim_status::would_block);
  CHECK(w->refusal().by_reader);
  CHECK(w->refusal().slot == 2);
  for (u64 i = 0; i < room; ++i) REQUIRE(next(*r) == i);
  CHECK(fill_up(*w, room) > 0);
}

TEST_CASE("a reliable reader that holds its first sample holds the writer") {
  const lane l;
  auto w = l.writer();
  auto r = l.reliable(0, 8);
  publish(*w, 0);
  lane_frame first;
  REQUIRE(r->take(first) == message);
  const u64 room = fill_up(*w, 1);
  for (u64 i = 1; i <= room; ++i) REQUIRE(next(*r) == i);
  CHECK(publish(*w, room + 1) == claim_status::would_block);
  CHECK(number_of(first) == 0);
  r->release(first);
  CHECK(publish(*w, room + 1) == claim_status::ok);
}

TEST_CASE("samples of a reliable reader can be released in any order") {
  const lane l;
  auto w = l.writer();
  auto r = l.reliable(0, 4);
  for (u64 i = 0; i < 4; ++i) publish(*w, i);
  lane_frame frames[4];
  for (auto& frame : frames) REQUIRE(r->take(frame) == message);
  for (const int i : {2, 0, 3, 1}) {
    CHECK(number_of(frames[i]) == static_cast<u64>(i));
    r->release(frames[i]);
  }
  CHECK(r->held() == 0);
  CHECK(l.slots().slot[0].place == r->position());
}

TEST_CASE("a sample too many is refused, and the others stay") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy(0, 2);
  for (u64 i = 0; i < 3; ++i) publish(*w, i);
  lane_frame a, b, c;
  REQUIRE(r->take(a) == message);
  REQUIRE(r->take(b) == message);
  CHECK(r->take(c) == take_status::too_many);
  CHECK(number_of(a) == 0);
  r->release(a);
  REQUIRE(r->take(c) == message);
  CHECK(number_of(c) == 2);
}

TEST_CASE("an overwriting writer goes round a slow lossy reader, who learns the exact count") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  publish(*w, 0);
  CHECK(next(*r) == 0);
  for (u64 i = 1; i < 1000; ++i) REQUIRE(publish(*w, i) == claim_status::ok);
  lane_frame frame;
  u64 expected = 1;
  take_status status = r->take(frame);
  REQUIRE((status == take_status::lagged || status == message));
  u64 received = 0;
  while (status != nothing) {
    if (status == take_status::lagged) {
      expected += r->lost();
    } else {
      REQUIRE(number_of(frame) == expected++);
      ++received;
      r->release(frame);
    }
    status = r->take(frame);
  }
  CHECK(expected == 1000);
  CHECK(received + r->lost_total() == 999);
  CHECK(r->lost_total() > 0);
}

TEST_CASE("void frames are not counted as lost") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  u64 messages = 0;
  for (u64 i = 0; i < 1000; ++i) {
    lane_claim claim;
    REQUIRE(w->claim(56, claim) == claim_status::ok);
    fill(claim, i);
    if (i % 3 == 0) {
      w->abandon(claim);
    } else {
      w->commit(claim, 56);
      ++messages;
    }
  }
  lane_frame frame;
  u64 received = 0;
  for (take_status status = r->take(frame); status != nothing; status = r->take(frame)) {
    if (status == message) {
      ++received;
      r->release(frame);
    }
  }
  CHECK(received + r->lost_total() == messages);
}

TEST_CASE("the bytes of a held sample never change, however often the writer goes round") {
  lane_request request = small_lane();
  request.reliable_allowed = false;
  const lane l(request);
  auto w = l.writer();
  auto r = l.lossy(0, 3);
  lane_frame held[2];
  publish(*w, 0);
  REQUIRE(r->take(held[0]) == message);
  for (u64 i = 1; i < 8; ++i) publish(*w, i);
  REQUIRE(r->take(held[1]) == message);
  for (u64 i = 8; i < 3000; ++i) {
    REQUIRE(publish(*w, i) == claim_status::ok);
    REQUIRE(number_of(held[0]) == 0);
    REQUIRE(number_of(held[1]) == 1);
  }
}

TEST_CASE("with everything held, an overwriting writer is refused and the one that holds most is named") {
  lane_request request = small_lane();
  request.reliable_allowed = false;
  const lane l(request);
  auto w = l.writer();
  auto greedy = l.lossy(1, 64);
  auto modest = l.lossy(3, 4);
  u64 n = 0;
  std::vector<lane_frame> held;
  lane_frame small;
  publish(*w, n++);
  REQUIRE(modest->take(small) == message);
  lane_frame frame;
  REQUIRE(greedy->take(frame) == message);
  for (; n < 40; ++n) {
    if (publish(*w, n) != claim_status::ok) break;
    REQUIRE(greedy->take(frame) == message);
    held.push_back(frame);
  }
  REQUIRE(n < 40);
  CHECK(publish(*w, n) == claim_status::would_block);
  CHECK(w->refusal().by_reader);
  CHECK(w->refusal().slot == 1);
  for (std::size_t i = 0; i < held.size(); ++i) CHECK(number_of(held[i]) == i + 1);
  for (const auto& h : held) greedy->release(h);
  CHECK(publish(*w, n) == claim_status::ok);
}

TEST_CASE("a loan of the publisher's own can be in the way, and the refusal says so") {
  const lane l;
  auto w = l.writer();
  lane_claim old;
  REQUIRE(w->claim(56, old) == claim_status::ok);
  lane_claim claim;
  claim_status status = claim_status::ok;
  for (int i = 0; i < 100 && status == claim_status::ok; ++i) {
    status = w->claim(56, claim);
    if (status == claim_status::ok) w->commit(claim, 56);
  }
  // The table of claims is full before the ring is: they wait for the old one.
  CHECK(status == claim_status::too_many);
  auto roomy = lane();
  auto w2 = roomy.writer(1000);
  REQUIRE(w2->claim(56, old) == claim_status::ok);
  status = claim_status::ok;
  for (int i = 0; i < 1000 && status == claim_status::ok; ++i) {
    status = w2->claim(56, claim);
    if (status == claim_status::ok) w2->commit(claim, 56);
  }
  CHECK(status == claim_status::would_block);
  CHECK_FALSE(w2->refusal().by_reader);
  w2->commit(old, 56);
  CHECK(w2->claim(56, claim) == claim_status::ok);
}

TEST_CASE("a message larger than the lane takes is refused and changes nothing") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  lane_claim claim;
  CHECK(w->claim(57, claim) == claim_status::too_large);
  CHECK(w->claim(0xffffffff, claim) == claim_status::too_large);
  CHECK(publish(*w, 5) == claim_status::ok);
  CHECK(next(*r) == 5);
}

TEST_CASE("a reader that starts at the latest sees what is published after that and nothing before") {
  const lane l;
  auto w = l.writer();
  for (const u64 before : {0, 1, 5, 100, 1000}) {
    for (u64 i = 0; i < before; ++i) publish(*w, i);
    auto r = l.reader(lane_reader::reading::lossy);
    REQUIRE(r->start_at_latest());
    CHECK_FALSE(next(*r));
    publish(*w, 4242);
    CHECK(next(*r) == 4242);
    r->stop();
  }
}

TEST_CASE("history gives the last messages, or as many as are still there") {
  const lane l;
  auto w = l.writer();
  for (u64 i = 0; i < 500; ++i) publish(*w, i);
  for (const auto how : {lane_reader::reading::lossy, lane_reader::reading::reliable}) {
    for (const u64 wanted : {u64{0}, u64{1}, u64{7}, u64{15}}) {
      auto r = l.reader(how);
      REQUIRE(r->start_with_history(wanted));
      for (u64 i = 500 - wanted; i < 500; ++i) CHECK(next(*r) == i);
      CHECK_FALSE(next(*r));
      r->stop();
    }
    auto all = l.reader(how);
    REQUIRE(all->start_with_history(~u64{0}));
    const auto oldest = next(*all);
    REQUIRE(oldest);
    CHECK(*oldest > 0);
    CHECK(500 - *oldest >= 15);
    for (u64 i = *oldest + 1; i < 500; ++i) CHECK(next(*all) == i);
    all->stop();
  }
}

TEST_CASE("history counts messages, not abandoned loans") {
  const lane l;
  auto w = l.writer();
  for (u64 i = 0; i < 20; ++i) {
    publish(*w, i);
    lane_claim claim;
    REQUIRE(w->claim(8, claim) == claim_status::ok);
    w->abandon(claim);
  }
  auto r = l.reader(lane_reader::reading::lossy);
  REQUIRE(r->start_with_history(5));
  for (u64 i = 15; i < 20; ++i) CHECK(next(*r) == i);
}

TEST_CASE("a batch takes what a stride holds and gives it back at once") {
  const lane l;
  auto w = l.writer();
  auto r = l.reliable(0, 1);
  const u64 room = fill_up(*w);
  u64 expected = 0;
  lane_frame first;
  while (r->take(first) == message) {
    const u64 place = l.slots().slot[0].place;
    u64 in_batch = 1;
    REQUIRE(number_of(first) == expected++);
    for (lane_frame more; r->take_more(first, more); ++in_batch) REQUIRE(number_of(more) == expected++);
    CHECK(l.slots().slot[0].place == place);
    CHECK(number_of(first) == expected - in_batch);
    r->release(first);
    CHECK(l.slots().slot[0].place > place);
  }
  CHECK(expected == room);
}

TEST_CASE("frames run from one stride into the next where no lossy reader may join") {
  lane_request request = small_lane();
  request.lossy_allowed = false;
  request.payload_bytes_max = 800;  // a stride has 256 bytes
  const lane l(request);
  auto w = l.writer();
  auto r = l.reliable();
  for (u64 i = 0; i < 500; ++i) {
    REQUIRE(publish(*w, i, 8 * static_cast<u32>(1 + i * 13 % 100)) == claim_status::ok);
    REQUIRE(next(*r) == i);
  }
}

TEST_CASE("payloads are aligned as their type asks, up to a page") {
  for (const u32 alignment : {1u, 8u, 16u, 64u, 512u, 4096u}) {
    lane_request request = small_lane();
    request.payload_alignment = alignment;
    request.capacity_bytes = capacity_for(request);
    for (const bool stamped : {false, true}) {
      request.stamped = stamped;
      request.capacity_bytes = capacity_for(request);
      const lane l(request);
      auto w = l.writer();
      auto r = l.lossy();
      for (u64 i = 0; i < 50; ++i) {
        REQUIRE(publish(*w, i) == claim_status::ok);
        lane_frame frame;
        REQUIRE(r->take(frame) == message);
        CHECK(reinterpret_cast<std::uintptr_t>(frame.payload) % alignment == 0);
        CHECK(number_of(frame) == i);
        r->release(frame);
      }
    }
  }
}

TEST_CASE("a closed lane is drained once everything was read") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  publish(*w, 0);
  lane_claim open;
  REQUIRE(w->claim(8, open) == claim_status::ok);
  w->close();
  r->look_at_state();
  CHECK(next(*r) == 0);
  lane_frame frame;
  CHECK(r->take(frame) == take_status::drained);
}

TEST_CASE("a claim of a dead publisher is stepped over once its lane is closed") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  lane_claim older, newer;
  REQUIRE(w->claim(56, older) == claim_status::ok);
  REQUIRE(w->claim(56, newer) == claim_status::ok);
  fill(newer, 2);
  w->commit(newer, 56);
  CHECK_FALSE(next(*r));  // it may still come
  l.slots().state = static_cast<u64>(lane_state::closed);
  CHECK(next(*r) == 2);
  lane_frame frame;
  CHECK(r->take(frame) == take_status::drained);
}

TEST_CASE("an heir goes on where the dead publisher ended") {
  const lane l;
  auto w = l.writer();
  auto r = l.reliable();
  for (u64 i = 0; i < 11; ++i) publish(*w, i);
  lane_claim older, newer;
  REQUIRE(w->claim(56, older) == claim_status::ok);
  REQUIRE(w->claim(56, newer) == claim_status::ok);
  fill(newer, 12);
  w->commit(newer, 56);
  w.reset();
  auto h = l.heir();
  REQUIRE(h != nullptr);
  CHECK(h->next_sequence() == 13);
  publish(*h, 13);
  for (u64 i = 0; i < 11; ++i) CHECK(next(*r) == i);
  CHECK(next(*r) == 12);  // 11 was claimed and is void
  CHECK(next(*r) == 13);
  CHECK_FALSE(next(*r));
}

TEST_CASE("a lone open loan leaves no trace when its publisher dies") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  publish(*w, 0);
  lane_claim claim;
  REQUIRE(w->claim(56, claim) == claim_status::ok);
  fill(claim, 99);
  w.reset();
  auto h = l.heir();
  REQUIRE(h != nullptr);
  CHECK(h->next_sequence() == 1);
  publish(*h, 1);
  CHECK(next(*r) == 0);
  CHECK(next(*r) == 1);
}

TEST_CASE("an heir comes after any number of messages, on any lap") {
  for (u64 messages = 0; messages < 200; ++messages) {
    const lane l;
    auto w = l.writer();
    for (u64 i = 0; i < messages; ++i) REQUIRE(publish(*w, i, 8 * static_cast<u32>(1 + i % 7)) == claim_status::ok);
    w.reset();
    auto h = l.heir();
    REQUIRE(h != nullptr);
    REQUIRE(h->next_sequence() == messages);
    auto r = l.reader(lane_reader::reading::lossy);
    REQUIRE(r->start_at_latest());
    for (u64 i = 0; i < 100; ++i) {
      REQUIRE(publish(*h, i) == claim_status::ok);
      REQUIRE(next(*r) == i);
    }
  }
}

TEST_CASE("a frame flag that is not known is another version's, a kind that is not known is passed over") {
  const lane l;
  auto w = l.writer();
  auto r = l.lossy();
  publish(*w, 0);
  publish(*w, 1);
  u64& first = l.memory().word(0);
  const u64 good = first;
  first = good | (u64{8} << 36);
  lane_frame frame;
  CHECK(r->take(frame) == take_status::newer_version);
  first = (good & ~(u64{0xf} << 32)) | (u64{9} << 32);
  REQUIRE(r->take(frame) == take_status::corrupt);  // its sequence was not spent: the next is out of order
  first = good;
}

TEST_CASE("sizes are chosen so that messages fit, and errors say what would") {
  lane_request request = small_lane();
  request.payload_bytes_max = 4000;
  const auto refused = make_geometry(request);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == quoit::errc::message_too_large);
  request.capacity_bytes = refused.error().value();
  CHECK(make_geometry(request));
  request.capacity_bytes /= 2;
  CHECK_FALSE(make_geometry(request));

  request = small_lane();
  request.strides = 12;
  CHECK(make_geometry(request).error().code() == quoit::errc::invalid_argument);
  request = small_lane();
  request.frame_alignment = 24;
  CHECK(make_geometry(request).error().code() == quoit::errc::invalid_argument);
  request = small_lane();
  request.payload_alignment = 8192;
  CHECK(make_geometry(request).error().code() == quoit::errc::invalid_argument);
  request = small_lane();
  request.subscriptions = 0;
  CHECK(make_geometry(request).error().code() == quoit::errc::invalid_argument);
  request = small_lane();
  request.payload_bytes_max = u64{1} << 40;
  CHECK(make_geometry(request).error().code() == quoit::errc::message_too_large);
}

TEST_CASE("one of those who make space takes the wish of a writer to be rung") {
  const lane l;
  CHECK_FALSE(take_waiting(l.slots()));
  l.slots().waiting = 1;
  CHECK(take_waiting(l.slots()));
  CHECK_FALSE(take_waiting(l.slots()));
}

TEST_CASE("a slot that is freed is nobody's wall") {
  const lane l;
  auto w = l.writer();
  auto r = l.reliable(1);
  while (publish(*w, 0) == claim_status::ok) {
  }
  CHECK_FALSE(w->would_grant(56));
  free_slot(l.slots(), 1);
  CHECK(w->would_grant(56));
}
