// Space on the disk for what is stored through a mapping.
#pragma once

#include <string>

#include "quoit/detail/atomic.hpp"
#include "storage/directory_handle.hpp"

namespace quoit::inline v1::detail {

// A call to allocate `bytes` in a file of this directory answered errno `why`. `what` and `path` are for the words.
// Codes: no_space (value: bytes), limit_reached (RLIMIT_FSIZE), invalid_argument (the file system cannot allocate
// ahead), no_permission, system.
error allocation_failed(const directory_handle& where, const std::string& what, const std::string& path, u64 bytes,
                        int why);

// Allocates the holes in the first `bytes` of a file that is opened for writing. Files that quoit makes have none, but
// sparse copies do (`cp --sparse=always`), and files in which holes were dug (`fallocate --dig-holes`): on a full disk
// a store into a hole is a SIGBUS. Errors: as above.
result<void> fill_holes(const directory_handle& where, int file, const std::string& path, u64 bytes);

}  // namespace quoit::inline v1::detail
