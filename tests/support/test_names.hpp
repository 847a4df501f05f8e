#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>

#include <dirent.h>
#include <unistd.h>

namespace quoit::test {

// A bus name that no other test uses at the same time: `t<pid>-<counter>`.
inline std::string unique_bus_name() {
  static std::atomic<unsigned> counter{0};
  return "t" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
}

// Whether the file `name` in /dev/shm belongs to `bus`: quoit.<bus>, quoit.<bus>.<topic>..., quoit.<bus>@tmp-....
inline bool belongs_to_bus(const std::string& name, const std::string& bus) {
  const std::string own = "quoit." + bus;
  if (name.compare(0, own.size(), own) != 0) return false;
  return name.size() == own.size() || name[own.size()] == '.' || name[own.size()] == '@';
}

// Calls f(name) for each file of `bus` in /dev/shm.
template <class F>
void for_each_bus_file(const std::string& bus, F&& f) {
  DIR* folder = ::opendir("/dev/shm");
  if (folder == nullptr) return;
  while (const dirent* entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (belongs_to_bus(name, bus)) f(name);
  }
  ::closedir(folder);
}

}  // namespace quoit::test
