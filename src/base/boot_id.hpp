#pragma once

#include <array>
#include <cstdint>

namespace quoit::inline v1::detail {

// The kernel's id of this boot; zero if it does not tell.
std::array<std::uint8_t, 16> boot_id() noexcept;

}  // namespace quoit::inline v1::detail
