#include "base/segment_prefix.hpp"

namespace quoit::inline v1::detail {

error another_version(const std::string& what, const segment_prefix& prefix, u64 known) {
  const auto layout = [](u32 major, u32 minor) { return std::to_string(major) + "." + std::to_string(minor); };
  std::string words = what + " has layout " + layout(prefix.layout_major, prefix.layout_minor);
  const u64 strange = prefix.required_features & ~known;
  if (strange != 0) words += " with features that are not known (" + std::to_string(strange) + ")";
  words += ", this library has layout " + layout(layout_major, layout_minor) + ": use one version of quoit on a bus";
  return error(errc::newer_version, words);
}

}  // namespace quoit::inline v1::detail
