#pragma once

#include <cstddef>
#include <cstdint>

// Each message is a part of the file; an empty one ends it.
inline constexpr const char* topic = "files/transfer";
inline constexpr std::size_t chunk_bytes = 256 * 1024;
