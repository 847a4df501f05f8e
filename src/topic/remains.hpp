// What is left of a bus that nobody can open: its own file is gone, or damaged.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// True if anything of the bus has a name.
bool anything_left(std::string_view bus);

// Removes the bus's own file, if there is one and nobody is alive. After that the bus can be opened, and whoever opens
// it and leaves it again removes the rest. `missing`: it had no file just now; false, with nothing done, if it has one
// now, which is not known to be damaged. Errors: as clean().
result<bool> remove_damaged_bus(std::string_view bus, bool missing, bool force, std::chrono::nanoseconds lock_timeout);

}  // namespace quoit::inline v1::detail
