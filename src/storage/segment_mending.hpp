// What of a segment can be put right without giving anything up: one flipped bit of what has a check of its own, and
// bytes where nothing is ever written.
#pragma once

#include <array>
#include <utility>

#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

// If the header's check is wrong and one flipped bit explains it, flips it back. A CRC over so few bytes has another
// value for each of them. True if it did.
bool mend_header(segment_header& header) noexcept;

// The same of the start record, and of the word behind it that says whether something before may be missing.
bool mend_start(const segment_file& segment) noexcept;

// There is a record of the clock, and not a whole one.
bool is_clock_wrong(const segment_file& segment) noexcept;
// The same of the clock's record. Where more than a bit is wrong it is cleared: then nothing is known of the clock.
bool mend_clock(const segment_file& segment) noexcept;

// Where nothing is written, between the parts of a segment: [first, second) of the file.
std::array<std::pair<u64, u64>, 4> segment_gaps(const segment_file& segment) noexcept;

// Makes them zero. True if they were not.
bool clear_gaps(const segment_file& segment) noexcept;

}  // namespace quoit::inline v1::detail
