// The file `lane` in the directory of a lane on disk: made whole under a temporary name, and checked.
#pragma once

#include <string>

#include "base/fork_guard.hpp"
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

// Of the lane's own file: held by its publisher.
inline constexpr off_t writer_lock_byte = off_t{1} << 40;

// The description holds the lock of the file, from before that has its name. None: a file is there already, and stays.
// `epoch_due`: the lane has segments, and its next publisher begins an epoch (S12).
// Errors: no_permission, limit_reached (descriptors), no_space, system.
result<guarded_fd> make_lane_file(const directory_handle& where, const u64 (&id)[2], bool epoch_due = false);

}  // namespace quoit::inline v1::detail
