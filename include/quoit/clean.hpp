// Removing what dead processes left of a bus: what `quoit clean` does.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "quoit/result.hpp"

namespace quoit::inline v1 {

// Names of the buses of which something is left: in shared memory, their own file or a topic's; on the kernel path, a
// directory with sockets. What cannot be looked into (list_obstacles()) is not in it.
QUOIT_EXPORT std::vector<std::string> list_remains();

// Cleans up after the dead of a bus, and removes everything of it if nobody is alive: also if its own file is gone, or
// damaged, so that nobody can open it. A bus of which nothing is left is none that fails.
//
// Where there is no file to ask who is alive, nobody on this machine may be alive on a bus without a name: a process
// that lives holds a lock on the file that it opened, also if that was removed. Whose it was cannot be seen, so then,
// and where the kernel does not show its locks, the answer is `busy`; with `force` the files are removed all the same.
// With `force` a bus goes too whose file is of another version of quoit, or says so, being damaged.
// Force never removes a bus whose file says that somebody is alive.
//
// The sockets and records of the dead on the kernel path go too, also where there is no shared memory, or where looking
// at it fails; that is answered then.
//
// Blocks up to 5 s for a lock. Any thread. Errors: invalid_name, busy (somebody is alive, or may be), no_permission (of
// a file, or of /dev/shm as a whole), no_space (a bus of which only topics are left is made once more to remove it: 400
// KiB), limit_reached (descriptors; its nodes_max, all of them alive), newer_version, system.
QUOIT_EXPORT result<void> clean(std::string_view bus, bool force = false);

}  // namespace quoit::inline v1
