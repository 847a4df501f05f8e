#include "mem/memfd.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/allocate.hpp"
#include "base/file_size_limit.hpp"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x8U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace quoit::inline v1::detail {

const int fixed_size = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
const int fixed_size_and_content = fixed_size | F_SEAL_FUTURE_WRITE;

result<fd> make_memfd(const char* name, std::uint64_t bytes) {
  constexpr unsigned flags = MFD_ALLOW_SEALING;
  fd memory = create_memfd(name, flags | MFD_NOEXEC_SEAL);
  // Linux before 6.3 does not know the flag.
  if (!memory && errno == EINVAL) memory = create_memfd(name, flags);
  if (!memory) {
    const int why = errno;
    const bool limited = why == EMFILE || why == ENFILE;
    return tl::unexpected(
        error(limited         ? errc::limit_reached
              : why == ENOMEM ? errc::no_space
                              : errc::system,
              std::string("making a memfd") + (limited ? ": too many open files (ulimit -n, sysctl fs.file-max)" : ""),
              0, why));
  }
  if (within_file_size_limit([&] { return ::ftruncate(memory.get(), static_cast<off_t>(bytes)); }) != 0) {
    if (errno == EFBIG) return tl::unexpected(file_size_limit_reached("making a memfd", bytes));
    return tl::unexpected(error(errc::no_space, "making a memfd of " + std::to_string(bytes) + " bytes", bytes, errno));
  }
  return memory;
}

result<void> allocate(int fd, std::uint64_t offset, std::uint64_t bytes, const std::string& what) {
  const int why = allocate_range(fd, static_cast<off_t>(offset), static_cast<off_t>(bytes));
  if (why != 0) {
    if (why == EFBIG) return tl::unexpected(file_size_limit_reached("allocating memory for " + what, offset + bytes));
    return tl::unexpected(error(why == ENOSPC || why == ENOMEM ? errc::no_space : errc::system,
                                "allocating " + std::to_string(bytes) + " bytes of memory for " + what, bytes, why));
  }
  return {};
}

result<void> seal(int fd, int seals) {
  if (::fcntl(fd, F_ADD_SEALS, seals) != 0) {
    const int why = errno;
    const bool old = why == EINVAL && (seals & F_SEAL_FUTURE_WRITE) != 0;
    return tl::unexpected(
        error(errc::system, old ? "sealing a memfd: F_SEAL_FUTURE_WRITE needs Linux 5.1" : "sealing a memfd", 0, why));
  }
  return {};
}

bool has_seals(int fd, int seals) noexcept {
  const int there = ::fcntl(fd, F_GET_SEALS);
  return there >= 0 && (there & seals) == seals;
}

}  // namespace quoit::inline v1::detail
