#include "base/dying.hpp"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "base/fd.hpp"

namespace quoit::inline v1::detail {

namespace {

// Calls f(name) for each entry; false if the directory cannot be opened.
template <class F>
bool for_each_name(const char* path, F&& f) noexcept {
  const directory_stream all = open_directory(path);
  if (!all) return false;
  while (const dirent* const one = ::readdir(all.get())) {
    if (one->d_name[0] != '.') f(one->d_name);
  }
  return true;
}

}  // namespace

bool has_no_descriptors(pid_t process) noexcept {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/task", static_cast<int>(process));
  bool none = true;
  // The threads share their descriptors, but one that has ended, as the first one may long before the others, shows
  // none.
  const bool there = for_each_name(path, [&](const char* thread) {
    char descriptors[96];
    std::snprintf(descriptors, sizeof descriptors, "%s/%.16s/fd", path, thread);
    const bool seen = for_each_name(descriptors, [&](const char*) { none = false; });
    // Not ours to look at, or it has ended since.
    if (!seen && ::access(descriptors, F_OK) == 0) none = false;
  });
  return there && none;
}

std::uint64_t pid_namespace() noexcept {
  char self[16]{};
  const ssize_t length = ::readlink("/proc/self", self, sizeof self - 1);
  // A /proc of another namespace has other numbers.
  if (length <= 0 || std::atoi(self) != ::getpid()) return 0;
  struct stat status{};
  return ::stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

}  // namespace quoit::inline v1::detail
