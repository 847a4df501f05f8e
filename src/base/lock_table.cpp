#include "base/lock_table.hpp"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>
#include <memory>

#include "base/fd.hpp"

namespace quoit::inline v1::detail {

std::vector<held_lock> read_lock_table() {
  std::vector<held_lock> held;
  fd descriptor = open_file("/proc/locks", O_RDONLY);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(descriptor ? ::fdopen(descriptor.get(), "r") : nullptr,
                                                             std::fclose);
  if (!file) return held;
  static_cast<void>(descriptor.release());
  char line[256];
  while (std::fgets(line, sizeof line, file.get()) != nullptr) {
    // "7: OFDLCK ADVISORY  WRITE -1 00:1a:12 2199023255552 2199023255552"; one that waits has "->" behind the number.
    unsigned major = 0;
    unsigned minor = 0;
    std::uint64_t inode = 0;
    std::uint64_t first = 0;
    if (std::sscanf(line, "%*d: OFDLCK %*s %*s %*d %x:%x:%" SCNu64 " %" SCNu64, &major, &minor, &inode, &first) != 4) {
      continue;
    }
    held.push_back({makedev(major, minor), static_cast<ino_t>(inode), first});
  }
  return held;
}

}  // namespace quoit::inline v1::detail
