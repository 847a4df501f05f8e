#pragma once

#include <string>

#include "../compare/compare.hpp"

namespace bench::html {

// All rows of a job, in a box that scrolls by itself where it is wider than the window.
std::string table_of(const comparison& c, job what_for);
std::string floor_table_of(const comparison& c);

}  // namespace bench::html
