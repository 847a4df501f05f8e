// Memory without a name whose size nobody can change.
#pragma once

#include <string>

#include "base/fd.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// Nobody can give another a SIGBUS by cutting it short.
extern const int fixed_size;
// And nobody can write but through the mappings that are there.
extern const int fixed_size_and_content;

// Errors: no_space, limit_reached (descriptors, RLIMIT_FSIZE), system.
result<fd> make_memfd(const char* name, std::uint64_t bytes);
// Without this, memory that is not there would be a fault at some later store. Errors: no_space (value: bytes),
// limit_reached (RLIMIT_FSIZE), system.
result<void> allocate(int fd, std::uint64_t offset, std::uint64_t bytes, const std::string& what);
// Errors: system.
result<void> seal(int fd, int seals);
bool has_seals(int fd, int seals) noexcept;

}  // namespace quoit::inline v1::detail
