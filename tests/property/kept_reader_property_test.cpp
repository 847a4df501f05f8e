// All lanes of a topic as one stream against a sorted list, under random lanes, times, voids and starts.
#include <algorithm>
#include <array>
#include <vector>

#include "storage/kept_reader.hpp"
#include "support/log_fixture.hpp"
#include "support/property.hpp"

using namespace quoit::test;
using quoit::cursor;
using quoit::start;

namespace {

constexpr std::array<const char*, 4> names{"a", "b", "c", "d"};

struct expected_message {
  u64 stamp;
  std::size_t lane;
  u64 sequence;
  u64 number;
  auto key() const { return std::tuple(stamp, lane, sequence); }
};

// A lane is made of what is to be done in it: a message after so much time, or a loan that is given back.
struct step {
  u32 pause;
  bool abandoned;
};

std::vector<expected_message> make_lane(const log_writer_options& options, std::size_t index,
                                        const std::vector<step>& steps) {
  std::vector<expected_message> made;
  std::vector<u64> stamps;
  u64 sequence = 0;
  u64 stamp = 1'000'000;
  {
    const auto w = open_log(options);
    for (const step& s : steps) {
      stamp += s.pause;
      if (s.abandoned) {
        lane_claim claim;
        RC_ASSERT(claim_waiting(*w, 100, claim) == append_status::ok);
        w->appender().abandon(claim);
        ++sequence;
        continue;
      }
      const u64 number = index * 1'000'000 + sequence;
      RC_ASSERT(append(*w, number) == append_status::ok);
      made.push_back({stamp, index, sequence++, number});
      stamps.push_back(stamp);
    }
  }
  set_stamps(options, stamps);
  return made;
}

// Reads everything, by whatever mixture of calls, and holds it against what is expected.
void check_all(kept_reader& r, const std::vector<expected_message>& expected, u64 turns) {
  const auto check_one = [&](const kept_lane& lane, const lane_frame& frame, std::size_t at) {
    RC_ASSERT(at < expected.size());
    RC_ASSERT(lane.name == names[expected[at].lane]);
    RC_ASSERT(frame.sequence == expected[at].sequence);
    RC_ASSERT(frame.stamp == expected[at].stamp);
    RC_ASSERT(is_message(frame.payload, frame.payload_bytes, expected[at].number));
  };
  std::size_t at = 0;
  for (;; ++turns) {
    if (turns % 5 == 0) RC_ASSERT(r.ready() == (at < expected.size()));
    lane_frame first;
    kept_lane* lane = nullptr;
    const take_status status = r.take(first, lane);
    if (status == take_status::nothing) break;
    RC_ASSERT(status == take_status::message);
    check_one(*lane, first, at++);
    lane_frame more;
    while (turns % 3 == 0 && r.take_more(*lane, first, more)) check_one(*lane, more, at++);
    r.release(*lane, first);
  }
  RC_ASSERT(at == expected.size());
}

}  // namespace

TEST_CASE("the lanes of a topic are one list by time, from wherever it begins") {
  check_property("random lanes", [] {
    const scratch_directory directory;
    const auto options_of = [&](std::size_t i) {
      auto o = small_log(directory);
      o.name = names[i];
      return o;
    };
    const auto lanes = *rc::gen::inRange<std::size_t>(1, names.size() + 1);
    std::vector<std::vector<expected_message>> of_lane;
    std::vector<expected_message> expected;
    for (std::size_t i = 0; i < lanes; ++i) {
      // Short pauses, so that times are often equal, and long ones, so that there are runs.
      const auto steps = *rc::gen::container<std::vector<step>>(
          *rc::gen::inRange<std::size_t>(0, 400),
          rc::gen::apply([](u32 pause, u32 what) { return step{pause < 30 ? pause % 3 : pause * 7, what == 0}; },
                         rc::gen::inRange(0u, 40u), rc::gen::inRange(0u, 8u)));
      of_lane.push_back(make_lane(options_of(i), i, steps));
      expected.insert(expected.end(), of_lane.back().begin(), of_lane.back().end());
    }
    const auto sorted = [](std::vector<expected_message> list) {
      std::sort(list.begin(), list.end(), [](const auto& x, const auto& y) { return x.key() < y.key(); });
      return list;
    };
    expected = sorted(std::move(expected));
    const auto opened = [&](const start& from) {
      return kept_reader::open(directory.path(), "market/quotes", std::nullopt, 4, from).value();
    };
    const auto turns = *rc::gen::inRange(0u, 15u);
    const auto r = opened(start::earliest);
    RC_ASSERT(r->lanes() == lanes);
    check_all(*r, expected, turns);

    // From the middle: where one reader stands another one goes on, and it itself after a detour.
    const auto middle = *rc::gen::inRange<std::size_t>(0, expected.size() + 1);
    RC_ASSERT(r->seek(start::earliest).has_value());
    for (std::size_t n = 0; n < middle; ++n) {
      lane_frame frame;
      kept_lane* lane = nullptr;
      RC_ASSERT(r->take(frame, lane) == take_status::message);
      r->release(*lane, frame);
    }
    const cursor here = cursor::parse(r->position().to_string()).value();
    const std::vector<expected_message> rest(expected.begin() + static_cast<std::ptrdiff_t>(middle), expected.end());
    check_all(*opened(start::at(here)), rest, turns);
    check_all(*r, rest, turns);
    RC_ASSERT(r->seek(start::at(here)).has_value());
    check_all(*r, rest, turns);

    const auto back = *rc::gen::inRange<std::size_t>(0, 450);
    const auto sequence = *rc::gen::inRange<u64>(0, 450);
    std::vector<expected_message> last;
    std::vector<expected_message> behind;
    for (const auto& lane : of_lane) {
      const std::size_t kept = std::min(back, lane.size());
      last.insert(last.end(), lane.end() - static_cast<std::ptrdiff_t>(kept), lane.end());
      std::copy_if(lane.begin(), lane.end(), std::back_inserter(behind),
                   [&](const expected_message& m) { return m.sequence >= sequence; });
    }
    check_all(*opened(start::last(back)), sorted(last), turns);
    check_all(*opened(start::sequence(sequence)), sorted(behind), turns);
    check_all(*opened(start::latest), {}, turns);
  });
}
