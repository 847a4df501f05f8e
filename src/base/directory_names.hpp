#pragma once

#include <string>
#include <vector>

#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// The names in a directory, but for those that begin with a dot. A name that is there all of the time is among them;
// one that comes, goes, or is renamed meanwhile may be missing. So whoever concludes something from a missing name
// holds a lock under which such names neither come nor go. Errors: not_found, no_permission, limit_reached
// (descriptors), system. A list that cannot be had is no empty list.
result<std::vector<std::string>> names_in_directory(const std::string& path);

}  // namespace quoit::inline v1::detail
