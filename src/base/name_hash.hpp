#pragma once

#include <cstdint>
#include <string_view>

namespace quoit::inline v1::detail {

// FNV-1a, 64 bits. Part of formats: it must not change.
constexpr std::uint64_t hash_of_name(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace quoit::inline v1::detail
