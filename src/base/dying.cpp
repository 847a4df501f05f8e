#include "base/dying.hpp"

#include <dirent.h>

#include <cstdio>

namespace quoit::inline v1::detail {

bool has_no_descriptors(pid_t process) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/fd", static_cast<int>(process));
  DIR* const all = ::opendir(path);
  if (all == nullptr) return false;
  bool none = true;
  while (const dirent* const one = ::readdir(all)) none = none && one->d_name[0] == '.';
  ::closedir(all);
  return none;
}

}  // namespace quoit::inline v1::detail
