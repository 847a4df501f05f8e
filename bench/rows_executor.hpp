#pragma once

#include <vector>

#include "row.hpp"

namespace bench {

std::vector<row_type> executor_rows();

}  // namespace bench
