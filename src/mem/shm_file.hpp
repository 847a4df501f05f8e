// Shared-memory objects: made whole under a temporary name, then put in place.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/fork_guard.hpp"
#include "mem/mapping.hpp"

namespace quoit::inline v1::detail {

struct shm_permissions {
  std::uint32_t mode = 0660;
  std::int64_t group = -1;
};

// Where shm_open keeps its objects.
inline constexpr const char* shm_directory = "/dev/shm";
inline std::string shm_path(const std::string& file) { return std::string(shm_directory) + "/" + file; }

// An object that has a temporary name, or a final one. The descriptor holds its lock and is closed in a forked
// child; the memory is mapped through another, because a mapping keeps a description and its locks alive.
struct shm_file {
  guarded_fd descriptor;
  mapping memory;
  std::string name;
};

// Each object has a lock, on this byte: of a temporary, that its maker lives; else of what it holds. Far behind
// any end of file, where locks are allowed too.
inline constexpr off_t shm_lock_byte = off_t{1} << 40;

// What an object is for, in words: "a lane of topic t", and the option that makes it smaller.
struct shm_purpose {
  std::string object;
  const char* option = "";
};

// Makes an object of `bytes` under a temporary name that begins with `prefix`, with its lock held, allocates
// and populates its memory, zeroed, and maps it.
// Errors: no_space (value: bytes), no_permission, limit_reached (descriptors, RLIMIT_FSIZE), system.
result<shm_file> make_shm(const std::string& prefix, std::size_t bytes, const shm_purpose& purpose = {});

// Gives it its permissions and its final name. False: somebody else was first, and the temporary is gone.
result<bool> place_shm(shm_file& file, const std::string& name, const shm_permissions& permissions);
result<bool> place_shm(int fd, const std::string& temporary, const std::string& name,
                       const shm_permissions& permissions);

// An object that is there. Errors: not_found, no_permission, limit_reached (descriptors), system.
result<fd> open_shm(const std::string& name, access how);

// The same, for nothing but its locks: guarded from a forked child, and never mapped through.
result<guarded_fd> open_shm_for_locks(const std::string& name, access how = access::read_write);

// The directory itself, for shared locks on its bytes: it cannot be removed while somebody has it open, as a file can.
// Errors: not_found, no_permission, limit_reached (descriptors), system.
result<guarded_fd> open_shm_directory_for_locks();

// Maps an object that is locked, and so cannot change its name, through a description of its own.
result<mapping> map_by_name(const std::string& name, std::size_t bytes, access how);

std::uint64_t file_bytes(int fd) noexcept;

void unlink_shm(const std::string& name) noexcept;

// True if the object of this descriptor has no name any more: whoever waited for its lock starts again.
bool is_unlinked(int fd) noexcept;

// Removes a temporary whose maker is dead.
void remove_if_abandoned(const std::string& temporary) noexcept;

// Whether list_shm() can see anything. Errors: not_found (there is no such directory), no_permission, limit_reached,
// system.
result<void> look_into_shm();
// Names of objects that begin with `prefix`, as names_in_directory() finds them; none where there is no such directory.
// Errors: no_permission, limit_reached, system.
result<std::vector<std::string>> list_shm(const std::string& prefix);

}  // namespace quoit::inline v1::detail
