#pragma once

#include "quoit/error.hpp"

namespace quoit::inline v1::detail {

// Why no further description of the memory is to be had.
error cannot_describe(int why);

}  // namespace quoit::inline v1::detail
