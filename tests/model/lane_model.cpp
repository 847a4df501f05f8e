// The lane under a weak memory model: the real writer and readers, a small ring, every rule of docs/design/lane.md.
#include "lane_cases.hpp"

namespace model {

namespace {

// ---- observers -----------------------------------------------------------------------------------------------------

// What an observer takes is a message, whole, however often the writer comes round meanwhile; and its counts add up.
// The first lap, but for its end, is there before anybody looks: so the writer is soon where the observer copies.
template <const shape& Shape, unsigned First, unsigned Messages, unsigned Looks>
struct observed : lane_test<observed<Shape, First, Messages, Looks>, 2> {
  observed() : lane_test<observed, 2>(Shape) {}
  void before() {
    lane_test<observed, 2>::before();
    writer = std::make_unique<numbered_writer>(this->w);
    reader = std::make_unique<lane_reader>(this->w.memory, this->w.geometry, 0, lane_reader::reading::observing, 2,
                                           lane_poke{});
    reader->start_at_first();
    expected = 0;
    for (unsigned i = 0; i < First; ++i) writer->publish();
  }
  void look() {
    lane_frame frame;
    switch (reader->take_copy(frame)) {
      case take_status::message: break;
      case take_status::lagged: expected += reader->lost(); return;
      case take_status::nothing: return;
      default: RL_ASSERT(false); return;
    }
    RL_ASSERT(frame.payload_bytes == this->w.geometry.payload_bytes_max);
    for (u32 at = 0; at < frame.payload_bytes; at += 8) {
      u64 number = 0;
      std::memcpy(&number, frame.payload + at, 8);
      RL_ASSERT(number == garbage + expected);
    }
    ++expected;
    reader->release(frame);
  }
  void thread(unsigned index) {
    for (unsigned i = 0; index == 0 && i < Messages; ++i) writer->publish();
    for (unsigned i = 0; index == 1 && i < Looks; ++i) look();
  }
  void after() {
    for (unsigned i = 0; i < 2 * (First + Messages); ++i) look();
    RL_ASSERT(expected == writer->next);
    reader.reset();
    writer.reset();
  }
  std::unique_ptr<numbered_writer> writer;
  std::unique_ptr<lane_reader> reader;
  u64 expected = 0;
};

// ---- overwriting, with lossy readers -----------------------------------------------------------------------------

template <const shape& Shape, unsigned Messages, unsigned Looks>
struct lossy : lane_test<lossy<Shape, Messages, Looks>, 3> {
  lossy() : lane_test<lossy, 3>(Shape) {}
  void before() {
    lane_test<lossy, 3>::before();
    writer = std::make_unique<numbered_writer>(this->w);
    for (u32 i = 0; i < 2; ++i) {
      readers[i] = std::make_unique<checked_reader>(this->w, i, lane_reader::reading::lossy, 2);
      readers[i]->reader.start_at_first();
    }
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (unsigned i = 0; i < Messages; ++i) {
        writer->publish();
        if (i % 3 == 0) writer->writer.prepare(this->w.geometry.payload_bytes_max);
      }
      return;
    }
    checked_reader& r = *readers[index - 1];
    for (unsigned i = 0; i < Looks; ++i) {
      r.look(i % 3 == 0);
      if (i % 3 == 2) r.let_go();
    }
    r.let_go();
  }
  void after() {
    // Whoever was passed over catches up, and everything adds up.
    for (auto& r : readers) {
      for (unsigned i = 0; i < 2 * Messages && r->look(false); ++i) {
      }
      RL_ASSERT(r->expected == writer->next);
    }
    for (auto& r : readers) r.reset();
    writer.reset();
  }
  std::unique_ptr<numbered_writer> writer;
  std::unique_ptr<checked_reader> readers[2];
};

// ---- readers that come while the writer is at it
// ---------------------------------------------------------------------

template <const shape& Shape, unsigned Messages>
struct joining : lane_test<joining<Shape, Messages>, 3> {
  joining() : lane_test<joining, 3>(Shape) {}
  void before() {
    lane_test<joining, 3>::before();
    writer = std::make_unique<numbered_writer>(this->w);
  }
  void thread(unsigned index) {
    if (index == 0) {
      for (unsigned i = 0; i < Messages; ++i) writer->publish();
      return;
    }
    const auto how = index == 1 ? lane_reader::reading::reliable : lane_reader::reading::lossy;
    checked_reader r(this->w, index - 1, how, 2);
    const bool started = index == 1 ? r.reader.start_with_history(2) : r.reader.start_at_latest();
    RL_ASSERT(started);
    // From here on: whatever comes first, then without a gap.
    r.expected = r.reader.sequence();
    for (unsigned i = 0; i < 6; ++i) r.look(false);
    r.reader.stop();
  }
  void after() { writer.reset(); }
  std::unique_ptr<numbered_writer> writer;
};

// ---- an old loan, and newer ones that go round to it
// --------------------------------------------------------------------

template <const shape& Shape>
struct loans : lane_test<loans<Shape>, 2> {
  loans() : lane_test<loans, 2>(Shape) {}
  void before() {
    lane_test<loans, 2>::before();
    writer = std::make_unique<numbered_writer>(this->w);
    reader = std::make_unique<checked_reader>(this->w, 0, lane_reader::reading::lossy, 2);
    reader->reader.start_at_first();
  }
  void thread(unsigned index) {
    if (index == 1) {
      for (unsigned i = 0; i < 8; ++i) reader->look(false);
      return;
    }
    lane_writer& lane = writer->writer;
    for (unsigned round = 0; round < 2; ++round) {
      lane_claim old;
      if (lane.claim(8, old) != claim_status::ok) return;
      writer->fill(old);
      for (unsigned i = 0; i < 12; ++i) {
        lane_claim claim;
        const claim_status status = lane.claim(8, claim);
        if (status != claim_status::ok) break;
        writer->fill(claim);
        lane.commit(claim, 8);
      }
      lane.commit(old, 8);
    }
  }
  void after() {
    for (unsigned i = 0; i < 60 && reader->look(false); ++i) {
    }
    RL_ASSERT(reader->expected == writer->next);
    reader.reset();
    writer.reset();
  }
  std::unique_ptr<numbered_writer> writer;
  std::unique_ptr<checked_reader> reader;
};

// ---- several loans, and the death of the publisher
// --------------------------------------------------------------------

enum class succession { closed, adopted };

template <const shape& Shape, succession What, lane_reader::reading How>
struct death : lane_test<death<Shape, What, How>, 3> {
  death() : lane_test<death, 3>(Shape) {}
  static constexpr unsigned rounds = How == lane_reader::reading::lossy ? 6 : 3;

  void before() {
    lane_test<death, 3>::before();
    if (How == lane_reader::reading::reliable) this->w.reliable_active.store(3, rl::mo_relaxed, $);
    writer = std::make_unique<numbered_writer>(this->w);
    for (u32 i = 0; i < 2; ++i) {
      readers[i] = std::make_unique<checked_reader>(this->w, i, How, 2);
      readers[i]->reader.start_at_first();
    }
    over.store(0, rl::mo_relaxed, $);
  }

  void thread(unsigned index) {
    if (index == 0) {
      this->w.accesses_to_live = 1 + rl::rand(How == lane_reader::reading::lossy ? 220 : 90);
      live();
      succeed();
      over.store(1, rl::mo_release, $);
      return;
    }
    rl::linear_backoff pause;
    for (unsigned i = 0; i < 30; ++i) {
      const bool finished = over.load(rl::mo_acquire, $) != 0;
      const bool got = look(index - 1, i % 3 == 0);
      if (i % 4 == 3) let_go(index - 1);
      if (!got && finished) break;
      if (!got) pause.yield($);
    }
  }

  // Two loans at a time; the newer is published first, sometimes the older is abandoned.
  void live() {
    numbered_writer& n = *writer;
    for (unsigned round = 0; round < rounds && !this->w.dead; ++round) {
      lane_claim older, newer;
      const u32 bytes = this->w.geometry.payload_bytes_max;
      if (n.writer.claim(bytes, older) != claim_status::ok) return;
      const claim_status second = n.writer.claim(bytes, newer);
      // Numbers are those of the sequences: a reader knows which of them it may miss.
      write(older);
      if (second == claim_status::ok) {
        write(newer);
        n.writer.commit(newer, bytes);
      }
      if (round % 2 == 0) {
        n.writer.commit(older, bytes);
      } else {
        n.writer.abandon(older);
      }
    }
  }
  void write(const lane_claim& claim) {
    for (u32 at = 0; at < claim.payload_bytes; at += 8) write_payload(claim.payload + at, garbage + claim.sequence);
  }

  void succeed() {
    // The cleaner has taken the dead publisher's byte: its stores are before ours.
    this->w.dead = false;
    this->w.accesses_to_live = 0;
    quoit::detail::store_release(this->w.memory.slot_table->state, static_cast<u64>(lane_state::closed));
    if (What == succession::closed) return;
    heir = std::make_unique<lane_writer>(lane_writer::adopt_tag{}, this->w.memory, this->w.geometry, 4u);
    RL_ASSERT(heir->adopt());
    // Two at a time, so that a header says `claimed`.
    const u32 bytes = this->w.geometry.payload_bytes_max;
    for (unsigned i = 0; i < 2; ++i) {
      lane_claim older, newer;
      if (heir->claim(bytes, older) != claim_status::ok) break;
      write(older);
      if (heir->claim(bytes, newer) == claim_status::ok) {
        write(newer);
        heir->commit(newer, bytes);
      }
      heir->commit(older, bytes);
    }
    // Too late.
    if (!on("A12_open_first")) {
      quoit::detail::store_release(this->w.memory.slot_table->state, static_cast<u64>(lane_state::open));
    }
  }

  bool look(unsigned which, bool hold) {
    checked_reader& r = *readers[which];
    lane_frame frame;
    switch (r.reader.take(frame)) {
      case take_status::message: break;
      case take_status::lagged: RL_ASSERT(How == lane_reader::reading::lossy); return true;
      case take_status::nothing:
      case take_status::drained: return false;
      default: RL_ASSERT(false); return false;
    }
    // Every message says its own sequence: none is torn, none is of an earlier lap, none is out of order.
    RL_ASSERT(read_payload(frame.payload) == garbage + frame.sequence);
    RL_ASSERT(frame.sequence >= r.expected);
    r.expected = frame.sequence + 1;
    seen[which] |= u64{1} << frame.sequence;
    if (hold && !holding[which]) {
      holding[which] = true;
      kept[which] = frame;
    } else {
      r.reader.release(frame);
    }
    return true;
  }
  void let_go(unsigned which) {
    if (!holding[which]) return;
    RL_ASSERT(read_payload(kept[which].payload) == garbage + kept[which].sequence);
    readers[which]->reader.release(kept[which]);
    holding[which] = false;
  }

  void after() {
    for (unsigned i = 0; i < 2; ++i) {
      let_go(i);
      for (unsigned turn = 0; turn < 60 && look(i, false); ++turn) {
      }
    }
    // Both end at the same place, at the end.
    RL_ASSERT(readers[0]->reader.sequence() == readers[1]->reader.sequence());
    RL_ASSERT(readers[0]->reader.position() == readers[1]->reader.position());
    if (heir != nullptr) RL_ASSERT(readers[0]->reader.sequence() == heir->next_sequence());
    // What was made visible was seen, or counted as lost; nothing else was.
    for (unsigned i = 0; i < 2; ++i) {
      RL_ASSERT((seen[i] & ~this->w.committed_sequences) == 0);
      const auto missed = static_cast<u64>(__builtin_popcountll(this->w.committed_sequences & ~seen[i]));
      RL_ASSERT(missed == readers[i]->reader.lost_total());
    }
    for (auto& r : readers) r.reset();
    heir.reset();
    writer.reset();
  }

  u64 seen[2] = {};
  bool holding[2] = {};
  lane_frame kept[2];
  rl::atomic<u32> over;
  std::unique_ptr<numbered_writer> writer;
  std::unique_ptr<lane_writer> heir;
  std::unique_ptr<checked_reader> readers[2];
};

// ---- a publisher that dies after the one that it went on for --------------------------------------------------------

// Loans in every stride: the dead one wrote no checkpoint behind the first of them.
struct adopted_twice : lane_test<adopted_twice, 2> {
  adopted_twice() : lane_test(one_a_stride) {}
  void thread(unsigned index) {
    if (index != 0) return;  // relacy wants two
    const u32 bytes = w.geometry.payload_bytes_max;
    lane_writer first(w.memory, w.geometry, 4);
    lane_claim claim;
    while (first.claim(bytes, claim) == claim_status::ok) {
    }
    lane_writer second(lane_writer::adopt_tag{}, w.memory, w.geometry, 4);
    RL_ASSERT(second.adopt());
    const u64 sequence = second.next_sequence();
    // Into the stride where the dead one's only checkpoint was.
    for (unsigned i = 0; i < 2; ++i) RL_ASSERT(second.claim(bytes, claim) == claim_status::ok);
    lane_writer third(lane_writer::adopt_tag{}, w.memory, w.geometry, 4);
    RL_ASSERT(third.adopt());
    // The newest claim was never stored: its place is free again.
    RL_ASSERT(third.next_sequence() == sequence + 1);
  }
};

constexpr auto is_reliable = lane_reader::reading::reliable;
constexpr auto is_lossy = lane_reader::reading::lossy;
using lossy_two = lossy<two_a_stride, 14, 8>;
using lossy_spanning = lossy<spanning, 12, 8>;
using observed_two = observed<two_a_stride, 6, 6, 8>;
using observed_spanning = observed<spanning, 4, 6, 8>;
using lossy_over = lossy<over_a_stride, 12, 8>;
using loans_two = loans<two_a_stride>;
using joining_two = joining<two_a_stride, 14>;
using closed_lossy = death<two_a_stride, succession::closed, is_lossy>;
using closed_reliable = death<two_a_stride, succession::closed, is_reliable>;
using adopted_lossy = death<two_a_stride, succession::adopted, is_lossy>;
using adopted_reliable = death<spanning, succession::adopted, is_reliable>;

}  // namespace

}  // namespace model

int main() {
  using namespace model;
  suite s;
  s.passes<lossy_two>("lossy", 40);
  s.passes<lossy_spanning>("lossy, frames over two strides", 40);
  s.passes<lossy_over>("lossy, frames larger than a stride", 100);
  s.passes<joining_two>("readers that come late", 100);
  s.passes<loans_two>("an old loan", 40);
  s.passes<closed_lossy>("death, closed, lossy", 100);
  s.passes<closed_reliable>("death, closed, reliable", 100);
  s.passes<adopted_lossy>("death, adopted, lossy", 100);
  s.passes<adopted_reliable>("death, adopted, reliable", 100);
  s.passes<adopted_twice>("adopted, and adopted again", 0.01);
  s.passes<observed_two>("observer", 60);
  s.passes<observed_spanning>("observer, frames over two strides", 60);

  s.fails_without<lossy_two>("A1_word_behind", "lossy");
  s.fails_without<lossy_two>("A2_reader_fence", "lossy");
  s.fails_without<lossy_two>("A2_check", "lossy");
  s.fails_without<lossy_two>("A3_writer_fence", "lossy");
  s.fails_without<lossy_two>("A3_masks", "lossy");
  s.fails_without<joining_two>("A3_walls", "readers that come late");
  s.fails_without<joining_two>("A4_attach_fence", "readers that come late");
  s.fails_without<joining_two>("A4_attach_check", "readers that come late");
  s.fails_without<joining_two>("A5_position_last", "readers that come late");
  s.fails_without<loans_two>("A6_own_claims", "an old loan");
  s.fails_without<closed_lossy>("A8_voids_are_not_lost", "death, closed, lossy", 400);
  s.fails_without<lossy_two>("A10_zero_behind", "lossy");
  s.fails_without<closed_reliable>("A11_second_load", "death, closed, reliable", 400);
  s.fails_without<adopted_lossy>("A12_void_claims", "death, adopted, lossy");
  s.fails_without<adopted_lossy>("A12_scan", "death, adopted, lossy", 400);
  s.fails_without<adopted_lossy>("A12_open_first", "death, adopted, lossy", 400);
  s.fails_without<adopted_twice>("A12_checkpoints", "adopted, and adopted again", 0.01);
  s.fails_without<observed_two>("A16_observer_check", "observer");
  s.fails_without<lossy_two>("order_commit_release", "lossy");
  s.fails_without<lossy_two>("order_commit_acquire", "lossy");
  s.fails_without<lossy_spanning>("order_slot_release", "lossy, frames over two strides");
  s.fails_without<lossy_spanning>("order_slot_acquire", "lossy, frames over two strides");
  s.fails_without<joining_two>("order_checkpoint_release", "readers that come late");
  s.fails_without<joining_two>("order_checkpoint_acquire", "readers that come late");
  return s.end();
}
