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
// A process that lives on a file of the bus whose name was removed holds a lock on /dev/shm that says so. Then the
// answer is `busy`, and what the topics of the bus have there stays; with `force` it is removed all the same.
// With `force` a bus goes too whose file is of another version of quoit, or says so, being damaged.
// Force never removes a bus whose file says that a process is alive.
//
// The sockets and records of the dead on the kernel path go too, also where there is no shared memory, or where looking
// at it fails; that is answered then.
//
// Blocks up to 5 s for a lock, and as long for a process that is on such a file, or just makes one. Any thread. Errors:
// invalid_name, busy (somebody is alive, or may be), no_permission (of a file, or of /dev/shm as a whole), no_space (a
// bus of which only topics are left is made once more to remove it: 400 KiB), limit_reached (descriptors; its
// nodes_max, all of them alive), newer_version, system.
QUOIT_EXPORT result<void> clean(std::string_view bus, bool force = false);

}  // namespace quoit::inline v1
