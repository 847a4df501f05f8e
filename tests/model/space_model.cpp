// Waiting for space under a weak memory model: the real writer, readers and doorbell, and no recheck: a wake that is
// lost is a run without end.
#include "lane_cases.hpp"

#include "kernel.hpp"
#include "wake/doze.hpp"

namespace model {

namespace {

// A writer that waits, and `Readers` reliable readers that ring it.
template <class Test, int Readers>
struct space_test : lane_test<Test, Readers + 1> {
  explicit space_test(const shape& s) : lane_test<Test, Readers + 1>(s) {}
  void before() {
    lane_test<Test, Readers + 1>::before();
    node.initialise();
    node_world::ghost = [] {
      here->access();
      return here->ghost();
    };
    announced = poked = 0;
    this->w.reliable_active.store((u64{1} << Readers) - 1, rl::mo_relaxed, $);
    writer = std::make_unique<numbered_writer>(this->w);
    for (u32 i = 0; i < Readers; ++i) {
      readers[i] = std::make_unique<checked_reader>(this->w, i, lane_reader::reading::reliable, 3,
                                                    lane_poke{&space_test::poke, this});
      readers[i]->reader.start_at_first();
    }
  }
  static void poke(void* context) {
    auto* const self = static_cast<space_test*>(context);
    if (!here->ghost()) ++self->poked;
    ring(self->node.bell);
  }
  // As publisher_core.
  void publish_all(unsigned messages) {
    for (unsigned i = 0; i < messages;) {
      if (writer->publish()) {
        ++i;
        continue;
      }
      doze_for_space(
          node.bell,
          [&](bool waits) {
            announced += waits ? 1 : 0;
            quoit::detail::store_release(this->w.memory.slot_table->waiting, waits ? 1 : 0);
          },
          [&] { return writer->writer.would_grant(this->w.geometry.payload_bytes_max); },
          [](nap& pause) { pause.sleep(std::chrono::nanoseconds(-1)); });
    }
  }
  void read_until(checked_reader& r, u64 expected) {
    rl::linear_backoff pause;
    for (unsigned i = 0; r.expected < expected; ++i) {
      if (!r.look(i % 3 == 0)) pause.yield($);
      if (i % 3 == 1) r.let_go();
    }
    r.let_go();
  }
  // Sometimes, so that the writer sleeps when something happens; where it will want more space than there is.
  void let_it_wait() {
    if (rl::rand(2) == 0) return;
    rl::linear_backoff pause;
    while (this->w.waiting.load(rl::mo_relaxed, $) == 0) pause.yield($);
  }
  void after() {
    // Who takes `waiting` rings, and nobody else does.
    RL_ASSERT(poked <= announced);
    for (auto& r : readers) r.reset();
    writer.reset();
  }
  node_world node;
  unsigned announced = 0, poked = 0;
  std::unique_ptr<numbered_writer> writer;
  std::unique_ptr<checked_reader> readers[Readers];
};

template <const shape& Shape, unsigned Messages>
struct reliable : space_test<reliable<Shape, Messages>, 2> {
  reliable() : space_test<reliable, 2>(Shape) {}
  void thread(unsigned index) {
    if (index == 0) return this->publish_all(Messages);
    this->read_until(*this->readers[index - 1], Messages);
  }
  void after() {
    this->node.check_calls();
    space_test<reliable, 2>::after();
  }
};

// ---- moves that are no reading (C3)
// -----------------------------------------------------------------------------------

// One reader leaves in the middle.
template <const shape& Shape, unsigned Messages>
struct leaving : space_test<leaving<Shape, Messages>, 1> {
  leaving() : space_test<leaving, 1>(Shape) {}
  void thread(unsigned index) {
    if (index == 0) return this->publish_all(Messages);
    this->read_until(*this->readers[0], 2);
    this->let_it_wait();
    this->readers[0]->reader.stop();
  }
};

// One reader dies at any access, and somebody frees its slot, as topic::remove_subscription() does.
template <const shape& Shape, unsigned Messages>
struct dying_reader : space_test<dying_reader<Shape, Messages>, 1> {
  dying_reader() : space_test<dying_reader, 1>(Shape) {}
  void thread(unsigned index) {
    if (index == 0) return this->publish_all(Messages);
    this->w.writer_thread = 1;
    this->w.accesses_to_live = 1 + rl::rand(40);
    rl::linear_backoff pause;
    while (!this->w.dead && this->readers[0]->expected < 8) {
      this->let_it_wait();
      if (!this->readers[0]->look(false)) pause.yield($);
    }
    this->w.dead = false;
    this->w.accesses_to_live = 0;
    if (on("C3_cleaner_frees")) free_slot(*this->w.memory.slot_table, 0);
    if (!on("C3_cleaner_rings")) return;
    if (on("C3_cleaner_rings_anyway")) {
      ring_anyway(this->node.bell);
    } else {
      // As one that moves; but the dead one may have taken `waiting` and not rung.
      quoit::detail::full_fence();
      if (take_waiting(*this->w.memory.slot_table)) ring(this->node.bell);
    }
  }
};

// The oldest of several samples is given back first, and the others only when the writer has gone on.
void let_go_one_by_one(lane_reader& r) {
  lane_frame samples[3];
  rl::linear_backoff pause;
  const auto take = [&](lane_frame& out) {
    while (r.take(out) != take_status::message) pause.yield($);
  };
  for (auto& s : samples) take(s);
  for (unsigned i = 0; i < 3; ++i) {
    r.release(samples[i % 3]);
    take(samples[i % 3]);
  }
  for (auto& s : samples) r.release(s);
}

struct oldest_first : space_test<oldest_first, 1> {
  oldest_first() : space_test(one_a_stride) {}
  void thread(unsigned index) {
    if (index == 0) return publish_all(6);
    let_go_one_by_one(readers[0]->reader);
  }
};

// ---- a writer whose loop is told by a descriptor (C5)
// -----------------------------------------------------------------

// As publisher_core with a descriptor: it never sleeps, and whoever takes `waiting` writes. The reader goes on when it
// has what its last move made room for: a move that nobody hears of is the end of both.
struct in_other_loop : space_test<in_other_loop, 1> {
  in_other_loop() : space_test(one_a_stride) {}
  void before() {
    space_test::before();
    written.store(0, rl::mo_relaxed, $);
    readers[0].reset();
    readers[0] = std::make_unique<checked_reader>(this->w, 0, lane_reader::reading::reliable, 3,
                                                  lane_poke{&in_other_loop::write, this});
    readers[0]->reader.start_at_first();
  }
  static void write(void* context) { static_cast<in_other_loop*>(context)->written.store(1, rl::mo_release, $); }
  void thread(unsigned index) {
    if (index == 1) return let_go_one_by_one(readers[0]->reader);
    for (unsigned i = 0; i < 6;) {
      if (writer->publish()) {
        ++i;
        continue;
      }
      const bool granted =
          quoit::detail::ask_for_space([&] { written.store(0, rl::mo_relaxed, $); },
                                       [&] { quoit::detail::store_release(w.memory.slot_table->waiting, 1); },
                                       [&] { return writer->writer.would_grant(w.geometry.payload_bytes_max); });
      rl::linear_backoff pause;
      while (!granted && written.load(rl::mo_acquire, $) == 0) pause.yield($);
    }
  }
  void after() {
    for (auto& r : readers) r.reset();
    writer.reset();
  }
  rl::atomic<u32> written;
};

using reliable_two = reliable<two_a_stride, 16>;
using reliable_spanning = reliable<spanning, 12>;
using reliable_one = reliable<one_a_stride, 10>;
using leaving_one = leaving<one_a_stride, 10>;
using dying_one = dying_reader<one_a_stride, 12>;

}  // namespace

}  // namespace model

int main() {
  using namespace model;
  suite s;
  s.passes<reliable_two>("reliable, waiting for space", 40);
  s.passes<reliable_spanning>("reliable, frames over two strides", 40);
  s.passes<reliable_one>("reliable, frames as large as a stride", 40);
  s.passes<in_other_loop>("a writer whose loop is told by a descriptor", 40);
  s.passes<leaving_one>("a reader that leaves", 40);
  s.passes<dying_one>("a reader that dies", 100);
  s.passes<oldest_first>("samples that are given back", 40);

  s.fails_without<oldest_first>("C1_reader_fence", "samples that are given back", 400);
  // That of the nap, in front of it, hides it from relacy, whose fences do more than those of C++.
  s.fails_without<reliable_one>("C2_writer_fence+B3_sleep_fence", "reliable, frames as large as a stride", 400);
  s.fails_without<oldest_first>("C2_scan_again", "samples that are given back", 400);
  for (const char* rule : {"C5_clear_first", "C5_announce_first", "C5_fence", "C5_scan_again"}) {
    s.fails_without<in_other_loop>(rule, "a writer whose loop is told by a descriptor", 400);
  }
  s.fails_without<leaving_one>("C3_stop_fence", "a reader that leaves", 400);
  s.fails_without<leaving_one>("C3_stop_pokes", "a reader that leaves", 400);
  s.fails_without<dying_one>("C3_cleaner_frees", "a reader that dies", 400);
  s.fails_without<dying_one>("C3_cleaner_rings", "a reader that dies", 400);
  s.fails_without<dying_one>("C3_cleaner_rings_anyway", "a reader that dies", 400);
  s.fails_without<oldest_first>("C3_oldest_moves", "samples that are given back", 400);
  return s.end();
}
