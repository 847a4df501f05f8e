// The measuring processes of one job and one size: all ways in the same two processes, in turn.
#pragma once

#include "../pair_runner.hpp"
#include "result.hpp"
#include "talk.hpp"
#include "trace.hpp"

namespace bench {

inline constexpr std::uint32_t no_way = ~std::uint32_t{0};

struct group_request {
  job what_for = job::round_trip;
  floors::cpu_pair cpus{};
  std::uint64_t payload_bytes = 0;
  double seconds = 0;  // for each way
  bool wanted[ways.size()] = {};
};

// In memory that all processes share: what comes out of them.
struct group_report {
  pair_state pair;
  shared_talk talk;
  trace::attached traced;
  std::uint32_t current;  // the way that is being run, or no_way
  timed times[ways.size()];
  // ns; 0: not measured
  double futex_floor, slot_floor, seqpacket_floor, work_floor;
  std::uint64_t counted_messages[ways.size()];
  copies counted_copies[ways.size()];
};

// In the measuring process: what supervise() runs. Exit statuses.
int measure_group(group_report& to, const group_request& wanted, const char* bus);
// The same work once more, for a tracer to count; some messages of each way.
int count_group(group_report& to, const group_request& wanted, const char* bus);

}  // namespace bench
