// Two processes that measure together: one asks, one answers. The floors and the rows of `quoit bench` run in the same
// two, turn about.
//
// The answering process is forked before anything of quoit is opened. The asking side gives orders through a shared
// word, and each order runs on both sides at once. If a side dies, the other one ends.
#pragma once

#include <functional>
#include <string>

#include "floors/echo.hpp"
#include "floors/futex.hpp"
#include "floors/futex_ring.hpp"
#include "floors/line.hpp"
#include "floors/pipe.hpp"
#include "floors/seqpacket.hpp"
#include "floors/slot.hpp"
#include "row.hpp"

namespace bench {

struct usage {
  double cpu_seconds = 0;
  std::uint64_t sleeps = 0;  // voluntary context switches
  std::uint64_t wakes = 0;
  std::uint64_t enters = 0;  // calls of io_uring_enter, sleeps among them

  usage& operator+=(const usage& other);
  friend usage operator-(usage a, const usage& b);
};

struct usage_of_both {
  usage asks;
  usage answers;
  usage_of_both& operator+=(const usage_of_both& other);
};

// Made before either process.
struct pair_state {
  order now;
  usage answers_used;  // by all orders so far
  char problem[512];   // why a side ended
  alignas(128) std::uint64_t given;
  alignas(128) std::uint64_t done;
  floors::line_memory line;
  floors::futex_memory futex;
  floors::echo_memory echo;
  floors::seqpacket_memory seqpacket;
  floors::pipe_memory pipes;
  floors::slot_memory slot;
};

class pair_runner {
 public:
  using make_side = std::function<std::unique_ptr<side>(const order&, bool asks)>;

  // Called in the asking process. `make` may be null for a row that is its floor.
  // Everything here throws std::runtime_error when it fails.
  pair_runner(pair_state& state, floors::cpu_pair cpus, make_side make);
  ~pair_runner();
  pair_runner(const pair_runner&) = delete;
  pair_runner& operator=(const pair_runner&) = delete;

  void open(order what);
  void close();
  usage_of_both run(order what, histogram& ticks);
  usage_of_both floor(floor_kind kind, std::uint64_t turns, std::uint64_t bytes, histogram& ticks);
  // The same; a floor whose sides should sleep and do not is run again, some times, a moment later. `asleep`: whether
  // they did in the end, or need not (slept()).
  usage_of_both steady_floor(floor_kind kind, std::uint64_t turns, std::uint64_t bytes, histogram& ticks, bool& asleep);

 private:
  order for_side(order what, bool asks) const;
  void give(const order& what);
  void wait_done();
  int answer();
  // Of the floor; how often that called io_uring_enter.
  std::uint64_t ask_floor(const order& what, histogram& ticks);
  std::uint64_t answer_floor(const order& what);

  pair_state& state_;
  floors::cpu_pair cpus_;
  make_side make_;
  pid_t child_ = -1;
  std::uint64_t given_ = 0;
  std::unique_ptr<side> mine_;
};

// Both sides keep on spinning if one of them hangs: from now on this process has so many seconds, and then ends.
void end_after(pair_state& state, unsigned seconds);

}  // namespace bench
