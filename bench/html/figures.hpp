// Which figures of a comparison are drawn, and beside which others.
#pragma once

#include "../compare/compare.hpp"
#include "plot.hpp"

namespace bench::html {

look look_of(const way& w);
// "shm.loan, polling".
std::string name_of(const way& w);

std::string round_trip_figures(const comparison& c);
std::string one_way_figures(const comparison& c);
// Copies, system calls and CPU time of a message: of a small one and of a large one.
std::string cost_figures(const comparison& c);
std::string file_figures(const comparison& c);

// A size that was measured, for a sentence or a few bars: the largest up to `most`, or else the smallest. 0: none was.
std::uint64_t size_up_to(const comparison& c, std::uint64_t most);

}  // namespace bench::html
