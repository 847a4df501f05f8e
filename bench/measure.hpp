// Measures a row beside its floor, in a pair of processes of its own: no row inherits the caches' and the heap's state
// from the one before, and whatever becomes of the pair, nothing of it is left.
#pragma once

#include <optional>
#include <string>

#include "floors/cpus.hpp"
#include "row.hpp"

namespace bench {

struct request {
  floors::cpu_pair cpus{};
  std::uint64_t payload_bytes = 64;
  std::optional<std::uint64_t> payload_asked_for;  // else payload_bytes, or what the row has
  std::optional<std::uint64_t> touch_asked_for;    // else all of the payload, or what the row has
  double seconds = 1;
  double rate = 0;  // turns a second; 0: as fast as they go
};

// What the row's messages will be.
struct message_size {
  std::uint64_t payload_bytes;
  std::uint64_t touch_bytes;
};
message_size size_of(const row_type& row, const request& wanted);

// Why the row cannot be measured like this; empty if it can.
std::string objection(const row_type& row, const request& wanted);

// What the row's floor stands on and this kernel, or a sandbox, refuses; empty if nothing.
std::string kernel_lacks(const row_type& row);

// Repeats the row, five times at most, until its floor is the same before and after it.
// Requires: no objection, nothing lacking, and that this process has no quoit bus open. Throws std::runtime_error.
measured measure(const row_type& row, const request& wanted);

}  // namespace bench
