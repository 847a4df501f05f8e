#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace quoit::inline v1::detail {

// A lock of an open file description that some process of this machine holds, whoever and wherever it is.
struct held_lock {
  dev_t device;
  ino_t inode;
  std::uint64_t first_byte;
};

// What /proc/locks lists of them. Empty also where it cannot be read: whoever draws a conclusion from that looks for a
// lock of its own first.
std::vector<held_lock> read_lock_table();

}  // namespace quoit::inline v1::detail
