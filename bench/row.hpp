// A row of the benchmark's table, and what was measured of it.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "pair_runner.hpp"

namespace bench {

enum class floor_kind { line, slot, futex };

inline const char* name_of(floor_kind f) {
  return f == floor_kind::line ? "line" : f == floor_kind::slot ? "slot" : "futex";
}

struct row_type {
  const char* name;
  const char* shows;
  bool throughput;  // else a round trip
  floor_kind floor;
  std::uint64_t turns;  // of one order: some milliseconds of work
  bool polls;           // needs two CPUs of its own
  std::unique_ptr<side> (*make)(const order&, bool asks);  // none: the row is a floor itself
};

struct measured {
  std::string name;
  std::uint64_t payload_bytes = 0;
  double p50 = 0, p90 = 0, p99 = 0, p999 = 0, p9999 = 0, max = 0;  // ns
  double messages_per_s = 0;
  std::string floor_name;
  double floor_before = 0, floor_after = 0, ratio = 0;  // ns
  double line_before = 0, line_after = 0;               // ns
  std::string regime;
  std::uint64_t turns = 0;
  double cpu_us_per_message = 0;      // of both processes
  double sleeps_per_message = 0;      // of both processes
  int attempts = 0;
};

inline std::string regime_of(double line_ns) { return line_ns < 75 ? "smt" : line_ns <= 200 ? "near" : "far"; }

// True if a floor moved so far that what lies between means nothing.
inline bool moved(double before, double after, double tolerance) {
  const double low = before < after ? before : after;
  return std::fabs(before - after) > tolerance * low;
}

// The median, between the steps of a coarse clock: some processors count time in steps of ten nanoseconds.
// Counts at a step are taken to be spread evenly around it.
inline double smooth_median(const histogram& h, double step_ticks) {
  const double middle = static_cast<double>(h.at(0.5));
  if (step_ticks < 2) return middle;
  // p such that at(p) is just below, and just above, the median's step.
  double below = 0, above = 1;
  for (double low = 0, high = 0.5; high - low > 1e-6;) {
    const double p = (low + high) / 2;
    (static_cast<double>(h.at(p)) < middle - step_ticks / 2 ? low : high) = p;
    below = high;
  }
  for (double low = 0.5, high = 1; high - low > 1e-6;) {
    const double p = (low + high) / 2;
    (static_cast<double>(h.at(p)) > middle + step_ticks / 2 ? high : low) = p;
    above = low;
  }
  const double share = above > below ? (0.5 - below) / (above - below) : 0.5;
  return middle + (share - 0.5) * step_ticks;
}

// The smallest step that the clock makes.
inline double clock_step_ticks() {
  static const double step = [] {
    std::uint64_t smallest = ~std::uint64_t{0};
    for (int i = 0; i < 20000; ++i) {
      const std::uint64_t a = floors::ticks();
      std::uint64_t b = floors::ticks();
      while (b == a) b = floors::ticks();
      if (b - a < smallest) smallest = b - a;
    }
    return static_cast<double>(smallest);
  }();
  return step;
}

std::vector<row_type> all_rows();
measured measure(pair_runner& pair, const row_type& row, std::uint32_t index, order what, double seconds);

}  // namespace bench
