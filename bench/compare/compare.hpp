// `quoit bench compare`: the same work in each way that two processes of a machine have.
#pragma once

#include <functional>

#include "result.hpp"

namespace bench {

inline constexpr std::uint64_t compare_bytes_min = 8;
inline constexpr std::uint64_t compare_bytes_max = 16 << 20;

struct compare_request {
  floors::cpu_pair cpus{};
  double seconds = 0.3;                                                                       // for each row
  std::vector<std::uint64_t> sizes{8, 64, 512, 4096, 32 << 10, 256 << 10, 1 << 20, 4 << 20};  // each a multiple of 8
  std::function<void(const std::string&)> says;                                               // how far it is; a line
};

// Measures, and counts. Requires: no bus is open in this process. Throws std::runtime_error.
comparison compare(const compare_request& wanted);

// The rate of `by` (messages a second, or turns) over that of `to`; 0 if one was not measured.
double times_as_fast(const comparison& c, job what_for, std::uint64_t payload_bytes, way by, way to);

}  // namespace bench
