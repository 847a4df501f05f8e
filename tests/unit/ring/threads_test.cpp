// A writer and its readers at the same time, threads in place of processes: they share one mapping, as
// ThreadSanitizer needs it. Every payload byte that is read while it is written would be a report there.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "support/lane_fixture.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

u64 messages() { return fast() ? 20'000 : under_tsan ? 60'000 : 400'000; }

// Publishes all; yields where a reader is in the way: without a loan of its own nobody else can be.
void write_all(lane_writer& w, bool with_loans, std::atomic<int>& faults) {
  for (u64 n = 0; n < messages();) {
    lane_claim first, second;
    if (w.claim(56, first) != claim_status::ok) {
      if (!w.refusal().by_reader) ++faults;
      std::this_thread::yield();
      continue;
    }
    fill(first, n++);
    if (with_loans && n % 3 == 0 && n < messages() && w.claim(40, second) == claim_status::ok) {
      fill(second, n++);
      w.commit(second, 40);
    }
    w.commit(first, 56);
  }
}

// Reads all, or counts it as lost; holds a sample now and then. The sum of both.
u64 read_all(lane_reader& r, std::atomic<int>& faults) {
  u64 expected = 0;
  lane_frame held;
  u64 held_number = 0;
  bool holding = false;
  while (expected < messages()) {
    lane_frame frame;
    switch (r.take(frame)) {
      case take_status::message: break;
      case take_status::lagged: expected += r.lost(); continue;
      case take_status::nothing: std::this_thread::yield(); continue;
      default: ++faults; return expected;
    }
    if (number_of(frame) != expected) ++faults;
    if (holding && number_of(held) != held_number) ++faults;
    if (expected % 64 == 0 && !holding) {
      held = frame;
      held_number = expected;
      holding = true;
    } else {
      r.release(frame);
      if (holding && expected % 64 == 20) {
        r.release(held);
        holding = false;
      }
    }
    ++expected;
  }
  if (holding) r.release(held);
  return expected;
}

void together(bool reliable, bool lossy) {
  lane_request request = small_lane();
  request.capacity_bytes = 4096;
  const lane l(request);
  std::vector<std::unique_ptr<lane_reader>> readers;
  if (reliable) readers.push_back(l.reliable(0));
  if (lossy) readers.push_back(l.lossy(1));
  if (!reliable) readers.push_back(l.lossy(2));
  auto w = l.writer(4);
  std::atomic<int> faults{0};
  std::vector<std::thread> threads;
  for (auto& r : readers) {
    threads.emplace_back([&] {
      if (read_all(*r, faults) != messages()) ++faults;
    });
  }
  // A reader that comes and goes meanwhile.
  std::atomic<bool> over{false};
  threads.emplace_back([&] {
    while (!over) {
      auto visitor = l.reader(lane_reader::reading::lossy, 3);
      if (!visitor->start_with_history(5)) ++faults;
      for (int i = 0; i < 20; ++i) {
        lane_frame frame;
        if (visitor->take(frame) != take_status::message) continue;
        if (number_of(frame) > messages()) ++faults;
        visitor->release(frame);
      }
      visitor->stop();
    }
  });
  write_all(*w, true, faults);
  for (std::size_t i = 0; i < readers.size(); ++i) threads[i].join();
  over = true;
  threads.back().join();
  CHECK(faults == 0);
}

}  // namespace

TEST_CASE("an overwriting writer and lossy readers run at once without a race") { together(false, true); }
TEST_CASE("a blocking writer and a reliable reader run at once without a race") { together(true, false); }
TEST_CASE("a writer serves reliable and lossy readers at once without a race") { together(true, true); }
