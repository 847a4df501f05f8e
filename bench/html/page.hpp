// A comparison as one page of HTML.
#pragma once

#include <string>

#include "../compare/compare.hpp"
#include "../compare/machine.hpp"

namespace bench {

// The whole document. It refers to nothing outside itself, has no script, and is legible on a telephone.
std::string html_of(const comparison& c, const machine& where);

}  // namespace bench
