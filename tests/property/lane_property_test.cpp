// The lane against a plain list of messages, under random sizes, modes, holds, deaths and heirs.
#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <vector>

#include "support/lane_fixture.hpp"
#include "support/property.hpp"

using namespace quoit::test;

namespace {

enum class act : int { claim, commit_oldest, commit_newest, abandon, look, hold, let_go, die, count };

struct reference_message {
  u64 number;
  u32 bytes;
};

// One reader, and what it must see.
struct reader_side {
  std::unique_ptr<lane_reader> reader;
  std::vector<std::pair<lane_frame, u64>> held;  // and the number that it must go on to hold
  u64 delivered = 0;
  u64 next_number = 0;  // messages are numbered in the order in which they become visible
};

struct run {
  run(const lane_request& request, u32 lossy_readers, u32 reliable_readers, u32 samples)
      : l(request), writer(l.writer(4)), samples_max(samples) {
    for (u32 i = 0; i < lossy_readers + reliable_readers; ++i) {
      readers.push_back({i < lossy_readers ? l.lossy(i, samples) : l.reliable(i, samples), {}, 0, 0});
    }
  }

  // Everything visible, in order: sequence -> number.
  void make_visible() {
    while (!order.empty()) {
      auto& first = order.front();
      if (first.state == 0) return;
      if (first.state == 1) visible.push_back({first.sequence, first.bytes});
      order.pop_front();
    }
  }

  void claim(u32 bytes) {
    lane_claim c;
    const claim_status status = writer->claim(bytes, c);
    if (status != claim_status::ok) return;
    fill_bytes(c.payload, bytes, c.sequence);
    open.push_back(c);
    order.push_back({c.sequence, bytes, 0});
  }
  void resolve(std::size_t index, bool commit, u32 bytes) {
    const lane_claim c = open[index];
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(index));
    const u32 kept = std::min(bytes, c.payload_bytes);
    if (commit) {
      writer->commit(c, kept);
    } else {
      writer->abandon(c);
    }
    for (auto& o : order) {
      if (o.sequence == c.sequence) o.state = commit ? 1 : 2, o.bytes = kept;
    }
    make_visible();
  }
  void die() {
    // All but the newest claim are in the lane as claims; the newest leaves no trace if it is alone.
    open.clear();
    writer.reset();
    writer = l.heir(4);
    RC_ASSERT(writer != nullptr);
    for (auto& o : order) {
      if (o.state == 0) o.state = 2;
    }
    // Sequences that were not spent are given again.
    while (!order.empty() && order.back().state == 2 && order.back().sequence >= writer->next_sequence())
      order.pop_back();
    make_visible();
  }

  void look(reader_side& side, bool hold) {
    lane_frame frame;
    const take_status status = side.reader->take(frame);
    switch (status) {
      case take_status::nothing: RC_ASSERT(side.next_number == visible.size()); return;
      case take_status::too_many: RC_ASSERT(side.held.size() == samples_max); return;
      case take_status::lagged:
        RC_ASSERT(side.reader->mode() == lane_reader::reading::lossy);
        side.next_number += side.reader->lost();
        RC_ASSERT(side.next_number <= visible.size());
        return;
      case take_status::message: break;
      default: RC_FAIL("a status that cannot be");
    }
    RC_ASSERT(side.next_number < visible.size());
    const auto& expected = visible[side.next_number++];
    RC_ASSERT(frame.sequence == expected.number);
    RC_ASSERT(frame.payload_bytes == expected.bytes);
    RC_ASSERT(intact(frame, frame.sequence));
    ++side.delivered;
    if (hold) {
      side.held.push_back({frame, frame.sequence});
    } else {
      side.reader->release(frame);
    }
  }
  void let_go(reader_side& side, std::size_t which) {
    if (side.held.empty()) return;
    which %= side.held.size();
    side.reader->release(side.held[which].first);
    side.held.erase(side.held.begin() + static_cast<std::ptrdiff_t>(which));
  }
  void check_held() {
    for (const auto& side : readers) {
      for (const auto& [frame, number] : side.held) RC_ASSERT(intact(frame, number));
    }
  }

  static void fill_bytes(std::byte* at, u32 bytes, u64 number) {
    for (u32 i = 0; i < bytes; ++i) at[i] = static_cast<std::byte>((number * 31 + i) & 0xff);
  }
  static bool intact(const lane_frame& frame, u64 number) {
    for (u32 i = 0; i < frame.payload_bytes; ++i) {
      if (frame.payload[i] != static_cast<std::byte>((number * 31 + i) & 0xff)) return false;
    }
    return true;
  }

  struct ordered {
    u64 sequence;
    u32 bytes;
    int state;  // 0 open, 1 committed, 2 void
  };
  lane l;
  std::unique_ptr<lane_writer> writer;
  u32 samples_max;
  std::vector<lane_claim> open;
  std::deque<ordered> order;
  std::vector<reference_message> visible;
  std::vector<reader_side> readers;
};

void one_run(bool with_lossy, bool with_reliable, bool with_deaths) {
  lane_request request = small_lane();
  request.strides = *rc::gen::element(8u, 16u);
  request.capacity_bytes = request.strides * *rc::gen::element(u64{256}, u64{512}, u64{2048});
  request.frame_alignment = *rc::gen::element(8u, 16u, 64u);
  request.lossy_allowed = with_lossy;
  request.payload_bytes_max = with_lossy ? request.capacity_bytes / request.strides - 136 : request.capacity_bytes / 3;
  const u32 bytes_max = static_cast<u32>(request.payload_bytes_max);
  const u32 samples = *rc::gen::inRange(1u, 4u);
  run r(request, with_lossy ? 2 : 0, with_reliable ? 2 : 0, samples);
  const int steps = *rc::gen::inRange(10, 1500);
  const u64 seed = *rc::gen::arbitrary<u64>();
  u64 state = seed | 1;
  const auto random = [&](u64 n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (state >> 11) % n;
  };
  for (int i = 0; i < steps; ++i) {
    const u32 bytes = static_cast<u32>(random(4) == 0 ? random(bytes_max + 1) : random(std::min(bytes_max, 64u) + 1));
    auto& side = r.readers[random(r.readers.size())];
    switch (static_cast<act>(random(static_cast<u64>(act::count)))) {
      case act::claim: r.claim(bytes); break;
      case act::commit_oldest:
        if (!r.open.empty()) r.resolve(0, true, random(3) == 0 ? bytes : ~0u);
        break;
      case act::commit_newest:
        if (!r.open.empty()) r.resolve(r.open.size() - 1, true, random(3) == 0 ? bytes : ~0u);
        break;
      case act::abandon:
        if (!r.open.empty() && random(3) == 0) r.resolve(random(r.open.size()), false, 0);
        break;
      case act::look: r.look(side, false); break;
      case act::hold: r.look(side, true); break;
      case act::let_go: r.let_go(side, random(8)); break;
      case act::die:
        if (with_deaths && random(10) == 0) r.die();
        break;
      default: break;
    }
    r.check_held();
  }
  // Everybody catches up: every message was delivered or counted as lost.
  while (!r.open.empty()) r.resolve(0, true, ~0u);
  for (auto& side : r.readers) {
    while (!side.held.empty()) r.let_go(side, 0);
    for (int i = 0; i < 5000 && side.next_number < r.visible.size(); ++i) r.look(side, false);
    RC_ASSERT(side.next_number == r.visible.size());
    RC_ASSERT(side.delivered + side.reader->lost_total() == r.visible.size());
    if (side.reader->mode() == lane_reader::reading::reliable) RC_ASSERT(side.reader->lost_total() == u64{0});
  }
}

}  // namespace

TEST_CASE("lossy readers get every message or count it, and what they hold does not change") {
  check_property("lossy", [] { one_run(true, false, false); });
}

TEST_CASE("reliable readers get every message in order") {
  check_property("reliable", [] { one_run(false, true, false); });
}

TEST_CASE("lossy and reliable readers of one lane each get what they are promised") {
  check_property("mixed", [] { one_run(true, true, false); });
}

TEST_CASE("nothing that was visible is lost when publishers die and heirs go on") {
  check_property("deaths", [] { one_run(true, true, true); });
}
