#pragma once

#include <array>
#include <cstdint>

namespace quoit::inline v1::detail {

// Identities that never repeat, on this machine or another. Where getrandom(2) is refused, as by a filter of system
// calls, from /dev/urandom; where that is missing too, they differ as far as start, clock and pid of the process do.
std::array<std::uint64_t, 2> random_id() noexcept;

}  // namespace quoit::inline v1::detail
