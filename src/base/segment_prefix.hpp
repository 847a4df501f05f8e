#pragma once

#include <cstddef>
#include <cstring>
#include <string>

#include "base/boot_id.hpp"
#include "quoit/detail/lane_layout.hpp"
#include "quoit/error.hpp"

namespace quoit::inline v1::detail {

// What every segment and file of this version begins with, of this boot.
inline segment_prefix prefix_of_now(u64 magic, std::size_t header_bytes, std::size_t entry_bytes, u32 entries,
                                    u64 segment_bytes) noexcept {
  segment_prefix prefix{};
  prefix.magic = magic;
  prefix.layout_major = layout_major;
  prefix.layout_minor = layout_minor;
  prefix.header_bytes = static_cast<u32>(header_bytes);
  prefix.entry_bytes = static_cast<u32>(entry_bytes);
  prefix.entry_count = entries;
  prefix.segment_bytes = segment_bytes;
  std::memcpy(prefix.boot_id, boot_id().data(), sizeof prefix.boot_id);
  return prefix;
}

// `newer_version`, of a file or a segment that this library does not know: of another layout, or with features that it
// has to know and does not. `known`: of the features, those that it does.
error another_version(const std::string& what, const segment_prefix& prefix, u64 known = 0);

}  // namespace quoit::inline v1::detail
