// What is left of a bus that no process can open: its own file is gone, or damaged.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// True if anything of the bus has a name. Errors: as list_shm().
result<bool> anything_left(std::string_view bus);

// While the file of the bus is missing: if a process is on an instance of the bus, waits until it has left that
// instance or the file is there. Errors: busy (neither within lock_timeout), and what opening /dev/shm answers.
result<void> wait_for_missing_bus(std::string_view bus, std::chrono::nanoseconds lock_timeout);

// Removes the file of a bus that cannot be opened, if no process is alive on any instance of the bus; with `force`, if
// none is alive on this one. The next process that opens the bus and leaves it removes the rest. False: processes are
// alive on this file. True also if it was removed by another process. Errors: busy (a process is alive on another
// instance, or holds the lock of the bus), and as opening a bus.
result<bool> remove_damaged_bus(std::string_view bus, bool force, std::chrono::nanoseconds lock_timeout);

}  // namespace quoit::inline v1::detail
