// A comparison in words: tables for a terminal, or JSON objects.
#pragma once

#include <string>

#include "compare.hpp"
#include "machine.hpp"

namespace bench {

// Four characters or so of a number, and its unit.
std::string words_of_time(double ns);
std::string words_of_bytes(std::uint64_t bytes);
std::string words_of_rate(double bytes_per_s);
std::string words_of_count(double times);
// The same, of round values, as axes have them: "10 us", "1 GB/s".
std::string words_of_tick_time(double ns);
std::string words_of_tick_rate(double bytes_per_s);
std::string words_of_tick_bytes(std::uint64_t bytes);  // "64", "4K"

// "round_trip.shm.loan.asleep".
std::string name_of(const compared& row);

// All of it, for a terminal.
std::string tables_of(const comparison& c);
// One object a line: the machine, the rows, the floors. The names are the interface of `quoit bench compare --json`:
// they may be added to. What `quoit bench latency --json` has too is called as there.
std::string json_of(const comparison& c, const machine& where);

// A file through shared memory is to go at least so many times as fast as through the kernel path.
inline constexpr double file_transfer_target = 1.5;
// What was found of that, in a sentence; empty if one of them was not measured.
std::string file_transfer_verdict(const comparison& c);

}  // namespace bench
