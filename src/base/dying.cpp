#include "base/dying.hpp"

#include <dirent.h>

#include <cstdio>

#include "base/fd.hpp"

namespace quoit::inline v1::detail {

bool has_no_descriptors(pid_t process) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/fd", static_cast<int>(process));
  const directory_stream all = open_directory(path);
  if (!all) return false;
  bool none = true;
  while (const dirent* const one = ::readdir(all.get())) none = none && one->d_name[0] == '.';
  return none;
}

}  // namespace quoit::inline v1::detail
