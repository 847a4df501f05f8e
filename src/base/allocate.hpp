#pragma once

#include <sys/types.h>

#include <cstddef>

namespace quoit::inline v1::detail {

// Allocates a range of a file, as fallocate(2) does without flags. 0, or an errno: EFBIG comes without a signal. After
// an error a part of the range may be allocated.
//
// Before Linux 6.9 a call on tmpfs that a signal interrupts gives back what it has allocated: with a periodic timer, a
// call that is simply repeated never ends. So a range that is interrupted is allocated in pieces, each half as long as
// the one that was interrupted.
int allocate_range(int fd, off_t offset, off_t bytes) noexcept;

// Makes all pages of a mapping present and writable (MADV_POPULATE_WRITE, Linux 5.14). False: the kernel cannot do
// that, and touching each page has to do.
bool populate_range(std::byte* begin, std::size_t bytes) noexcept;

}  // namespace quoit::inline v1::detail
