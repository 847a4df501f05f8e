// Whether a process that the kernel still has is on its way out.
#pragma once

#include <sys/types.h>

namespace quoit::inline v1::detail {

// True if it has no descriptors any more: it has died, or is dying, and what its descriptors hold is let go of in a
// moment or was. False if nothing can be said: it is not there, or not ours to ask. Some microseconds.
bool has_no_descriptors(pid_t process) noexcept;

}  // namespace quoit::inline v1::detail
