// What a comparison found.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../row.hpp"
#include "way.hpp"

namespace bench {

// Of the run that was timed. Trivially copyable: it comes out of another process.
struct timed {
  std::uint64_t turns = 0;  // round trips, messages, or parts of a file
  // ns: of a round trip, the median; else what a message took, the whole time divided by the messages.
  double time = 0;
  double p90 = 0, p99 = 0;  // of round trips
  double messages_per_s = 0;
  double cpu_us = 0;  // for a message, of both processes
  double sleeps = 0;  // for a message: voluntary context switches of both processes
  floor_kind floor = floor_kind::line;
  double floor_before = 0, floor_after = 0;  // means
  double ratio = 0;  // of a round trip to its floor; 0: there is none that it can be held against
  bench::regime regime = regime::unstable;
  doubt why = doubt::none;
  std::uint32_t slices = 0;       // that count
  std::uint32_t slices_left = 0;  // that were measured and do not count: their floors moved
};

// Of the run that was counted; for a message, in both processes.
struct counted {
  double calls = 0;
  std::map<std::string, double> calls_by_name;
  double bytes_copied = 0;  // by the kernel and by who uses quoit
  // How often the payload was copied as a whole.
  double copies = 0;
};

struct compared {
  job what_for = job::round_trip;
  way by{};
  std::uint64_t payload_bytes = 0;
  std::string not_measured;  // why
  timed time;
  std::optional<counted> counts;
  std::string not_counted;  // why
};

// The least that is possible, by a program that does nothing else.
struct lower_bound {
  job what_for = job::round_trip;
  const char* name = "";
  std::uint64_t payload_bytes = 0;
  double time = 0;  // ns
};

struct comparison {
  std::vector<compared> rows;
  std::vector<lower_bound> floors;
};

// For how many messages a turn stands.
constexpr double messages_of_turn(job j) { return j == job::round_trip ? 2 : 1; }

}  // namespace bench
