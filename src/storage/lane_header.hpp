// The file `lane` in the directory of a lane on disk: made whole under a temporary name, and checked.
#pragma once

#include <string>

#include "quoit/detail/segment_layout.hpp"
#include "storage/directory_handle.hpp"

namespace quoit::inline v1::detail {

inline constexpr const char* lane_file_name = "lane";

// Renames a file to `.cut`, or `.cut.1` and so on: what was set aside before stays. Errors: no_permission, system.
result<void> set_file_aside(const directory_handle& where, const std::string& name);

// As a lane begins with this id: nothing of it is on the disk.
void fill_lane_header(log_lane_header& header, const u64 (&id)[2]) noexcept;

// Errors: corrupt, newer_version.
result<void> check_lane_header(const log_lane_header& header, const std::string& path);

// One that is there already stays. Errors: no_permission, no_space, system.
result<void> make_lane_file(const directory_handle& where, const u64 (&id)[2]);

}  // namespace quoit::inline v1::detail
