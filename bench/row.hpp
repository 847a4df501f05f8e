// A row of the benchmark's table: what both processes do, and what was measured of it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "floors/cpus.hpp"
#include "floors/histogram.hpp"
#include "regime.hpp"

namespace bench {

using floors::histogram;

enum class floor_kind : std::uint8_t {
  line,
  slot,
  futex,
  futex_timed,
  futex_ring,
  pipe_ring,
  pipe_epoll,
  echo,
  echo_spin,
  seqpacket
};

constexpr const char* name_of(floor_kind f) {
  switch (f) {
    case floor_kind::line: return "line";
    case floor_kind::slot: return "slot";
    case floor_kind::futex: return "futex";
    case floor_kind::futex_timed: return "futex.timed";
    case floor_kind::futex_ring: return "futex.ring";
    case floor_kind::pipe_ring: return "pipe.ring";
    case floor_kind::pipe_epoll: return "pipe.epoll";
    case floor_kind::echo: return "echo";
    case floor_kind::echo_spin: return "echo.spin";
    case floor_kind::seqpacket: return "seqpacket";
  }
  return "?";
}

// Both sides of it need a CPU of their own.
constexpr bool spins(floor_kind f) {
  return f == floor_kind::line || f == floor_kind::slot || f == floor_kind::echo_spin;
}

// What both processes are told to do next.
struct order {
  enum class kind : std::uint32_t { quit, open, run, close, floor };
  kind what = kind::quit;
  floor_kind floor = floor_kind::line;
  std::uint64_t turns = 0;       // round trips, or messages of a row that goes one way
  std::uint64_t first_turn = 0;  // how many came before, of the same row
  std::uint64_t payload_bytes = 0;
  std::uint64_t touch_bytes = 0;  // of the payload, that are written and read
  double rate = 0;                // turns a second; 0: as fast as they go
  bool yields = false;            // both processes are on one CPU: who waits lets the other run
  std::uint32_t way = 0;          // of `quoit bench compare`: which of its ways
  bool counted = false;           // the same: this is the run of which a tracer counts the system calls
  char bus[33] = {};
  // Of whoever runs it.
  floors::cpu_pair cpus{};
  int socket = -1;  // a stream to the other side
};

// One process of a row. Made on both sides when the row is opened; each side waits until the other is there.
// Anything that fails is thrown as std::runtime_error.
class side {
 public:
  virtual ~side() = default;
  // The asking side gives the histogram ticks; on the answering side there is none.
  virtual void run(const order& what, histogram* ticks) = 0;
  // System calls made so far to wake the other side.
  virtual std::uint64_t wakes() const { return 0; }
  // Calls of io_uring_enter made so far; sleeps are among them.
  virtual std::uint64_t enters() const { return 0; }
};

// To add a row, add one of these to all_rows().
struct row_type {
  const char* name;
  const char* shows;
  bool one_way = false;  // else a round trip
  bool polls = true;     // needs two CPUs
  bool threads = false;  // both sides are threads of the process that asks
  floor_kind floor = floor_kind::slot;
  std::uint64_t turns = 0;                                           // of one order: some milliseconds of work
  std::uint64_t payload_bytes = 0;                                   // 0: what was asked for
  std::uint64_t touch_bytes = 0;                                     // 0: what was asked for, or else all
  bool payload_fixed = false;                                        // whatever was asked for
  std::unique_ptr<side> (*make)(const order&, bool asks) = nullptr;  // none: the row is its floor
};

const std::vector<row_type>& all_rows();

// Times are in ns; of a row that goes one way, a message's share. Trivially copyable: it comes out of another process.
struct measured {
  const char* name = "";
  std::uint64_t payload_bytes = 0, touch_bytes = 0;
  double rate = 0;
  int cpus[2] = {0, 0};
  std::uint64_t turns = 0;
  double p50 = 0, p90 = 0, p99 = 0, p999 = 0, p9999 = 0, max = 0;
  double messages_per_s = 0;
  // A message, in both processes together.
  double cpu_us = 0;
  double sleeps = 0;  // voluntary context switches
  double wakes = 0;   // system calls that wake the other side
  double enters = 0;  // calls of io_uring_enter, in which an executor also sleeps
  double calls = 0;   // all of these, each counted once
  // Of one core, while the row ran: the asking process, which spins for its schedule at a rate, and the answering one.
  double cpu_percent[2] = {0, 0};
  // Rows that poll: how much of the time their processes had their CPUs; below 1, others ran there.
  double cpu_share = 1;
  floor_kind floor = floor_kind::line;
  double floor_before = 0, floor_after = 0;
  double line_before = 0, line_after = 0;
  double ratio = 0;  // p50 to the floor's, the mean of before and after
  bench::regime regime = regime::unstable;
  doubt why = doubt::none;  // it is unstable
  int attempts = 0;
};

}  // namespace bench
