// Whether a process that the kernel still has is on its way out.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace quoit::inline v1::detail {

// True if no thread of the process has descriptors any more: it has died, or is dying, and what its descriptors hold is
// let go of in a moment or was. False if nothing can be said: it is not there, or not ours to ask. Some microseconds.
//
// `process` is a number in the pid namespace of the caller: in another one it is another process.
bool has_no_descriptors(pid_t process) noexcept;

// The pid namespace of this process, a number; 0 where there is no /proc of that namespace to say it.
std::uint64_t pid_namespace() noexcept;

}  // namespace quoit::inline v1::detail
