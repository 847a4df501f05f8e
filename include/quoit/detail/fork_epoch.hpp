#pragma once

#include <cstdint>

#include "quoit/detail/export.hpp"

namespace quoit::inline v1::detail {

// Changes in a child, between fork() and its return, and at no other time: a plain load suffices.
extern QUOIT_EXPORT std::uint32_t fork_epoch;

}  // namespace quoit::inline v1::detail
