// Copies and system calls of a message, from what a tracer and the ways themselves have counted.
#pragma once

#include "carriers.hpp"
#include "result.hpp"
#include "trace.hpp"

namespace bench {

// `own`: what the measuring code copied by itself, on both sides, for the same messages.
//
// The payload of a message crosses into the kernel once and out of it once at the most, and each crossing is a copy. So
// many bytes as its payload has in calls that take bytes are one copy, and what is more is no payload: heads of packets
// and words that wake. A file is read and written besides.
counted counts_of(const trace::tally& seen, const copies& own, std::uint64_t messages, std::uint64_t payload_bytes,
                  job what_for);

}  // namespace bench
