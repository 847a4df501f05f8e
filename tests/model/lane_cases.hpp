// What the models of a lane share: small lanes, and a writer and a reader that check what they carry.
#pragma once

#include "cases.hpp"

// In this unit: relacy replaces operator new, inline, in the units that include it.
#include "ring/lane_observer.cpp"
#include "ring/lane_reader.cpp"
#include "ring/lane_writer.cpp"

namespace model {

namespace {

constexpr shape two_a_stride{4, 32, 8, true};  // frames of 16: two a stride, eight a lap
constexpr shape spanning{4, 32, 16, true};     // frames of 24: some run from one stride into the next
constexpr shape over_a_stride{4, 32, 40,
                              true};            // frames of 48: larger than rule A7 allows where lossy readers may join
constexpr shape one_a_stride{4, 32, 24, true};  // frames of 32, the size of a stride

// What the messages say: which of the messages it is, so a reader knows what it missed.
constexpr u64 garbage = 0xdead000000000000;

// Takes what is there; checks order, contents and counts.
class checked_reader {
 public:
  checked_reader(world& w, u32 slot, lane_reader::reading how, u32 held_max, lane_poke poke = {})
      : reader(w.memory, w.geometry, slot, how, held_max, poke), how_(how) {}

  // False: nothing there.
  bool look(bool hold) {
    lane_frame frame;
    switch (reader.take(frame)) {
      case take_status::message: break;
      case take_status::lagged:
        RL_ASSERT(how_ == lane_reader::reading::lossy);
        RL_ASSERT(reader.lost() > 0);
        expected += reader.lost();
        return true;
      case take_status::nothing: return false;
      case take_status::drained: drained = true; return false;
      default: RL_ASSERT(false); return false;
    }
    const u64 number = read_payload(frame.payload);
    RL_ASSERT(number >= garbage);
    RL_ASSERT(number - garbage == expected);
    ++expected;
    if (hold && !held_) {
      held_ = true;
      kept_ = frame;
      return true;
    }
    reader.release(frame);
    return true;
  }
  // What was held did not change.
  void let_go() {
    if (!held_) return;
    const u64 number = read_payload(kept_.payload);
    RL_ASSERT(number < garbage + expected && number >= garbage);
    reader.release(kept_);
    held_ = false;
  }

  lane_reader reader;
  u64 expected = 0;  // number of the next message
  bool drained = false;

 private:
  lane_reader::reading how_;
  lane_frame kept_;
  bool held_ = false;
};

// Publishes messages with numbers.
class numbered_writer {
 public:
  explicit numbered_writer(world& w) : writer(w.memory, w.geometry, 16) {}

  bool publish() {
    lane_claim claim;
    if (writer.claim(here->geometry.payload_bytes_max, claim) != claim_status::ok) {
      // There is no other claim: whoever waits is told that waiting helps, also if the reader has moved on since.
      RL_ASSERT(writer.refusal().by_reader);
      return false;
    }
    fill(claim);
    writer.commit(claim, claim.payload_bytes);
    return true;
  }
  void fill(const lane_claim& claim) {
    for (u32 at = 0; at < claim.payload_bytes; at += 8) write_payload(claim.payload + at, garbage + next);
    ++next;
  }

  lane_writer writer;
  u64 next = 0;
};

template <class Test, int Threads>
struct lane_test : rl::test_suite<Test, Threads> {
  explicit lane_test(const shape& s) : w(geometry_of(s)) {}
  void before() {
    here = &w;
    w.initialise();
  }
  world w;
};

}  // namespace

}  // namespace model
