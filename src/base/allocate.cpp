#include "base/allocate.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "base/file_size_limit.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace quoit::inline v1::detail {

namespace {

constexpr off_t smallest_piece = 4096;
// Pieces that are not interrupted, before a longer one is tried.
constexpr unsigned undisturbed_before_longer = 8;

}  // namespace

int allocate_range(int fd, off_t offset, off_t bytes) noexcept {
  off_t piece = bytes;
  unsigned undisturbed = 0;
  while (bytes > 0) {
    const off_t now = std::min(piece, bytes);
    if (within_file_size_limit([&] { return ::fallocate(fd, 0, offset, now); }) == 0) {
      offset += now;
      bytes -= now;
      if (++undisturbed % undisturbed_before_longer == 0 && piece < bytes) piece *= 2;
      continue;
    }
    if (errno != EINTR) return errno;
    undisturbed = 0;
    piece = std::max(now / 2 / smallest_piece * smallest_piece, smallest_piece);
  }
  return 0;
}

bool populate_range(std::byte* begin, std::size_t bytes) noexcept {
  // Pages that are present when it is interrupted stay so.
  while (::madvise(begin, bytes, MADV_POPULATE_WRITE) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

}  // namespace quoit::inline v1::detail
