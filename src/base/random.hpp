#pragma once

#include <sys/random.h>

#include <array>
#include <cstdint>

namespace quoit::inline v1::detail {

// Identities that never repeat, on this machine or another.
inline std::array<std::uint64_t, 2> random_id() noexcept {
  std::array<std::uint64_t, 2> id{};
  while (::getrandom(id.data(), sizeof id, 0) != static_cast<ssize_t>(sizeof id)) {
  }
  return id;
}

}  // namespace quoit::inline v1::detail
