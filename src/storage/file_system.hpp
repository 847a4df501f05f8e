// Which file systems can keep a topic: those whose locks and mappings are those of one machine.
#pragma once

#include <string>
#include <string_view>

#include "quoit/detail/atomic.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

inline constexpr u32 fuse_magic = 0x65735546;

// The name of a network or cluster file system with this f_type of statfs(2), or of one that a virtual machine shares
// with its host; empty for every other one: local disks, and what nobody has heard of.
std::string_view network_name(u32 magic) noexcept;

// The same of a program behind FUSE, by its type in /proc/self/mountinfo ("fuse.sshfs").
bool is_network_fuse(std::string_view type) noexcept;

// The type of the mount with this device in the text of a mountinfo; empty if it is not there.
std::string_view type_of_mount(std::string_view mountinfo, u32 device_major, u32 device_minor) noexcept;

// Whether lanes may be written in this directory, which is open; `path` is for messages.
// Errors: invalid_argument (a network file system; the words name it), system.
result<void> check_file_system(int directory, const std::string& path);

}  // namespace quoit::inline v1::detail
