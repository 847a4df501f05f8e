#include "base/file_size_limit.hpp"

#include <sys/resource.h>
#include <unistd.h>

namespace quoit::inline v1::detail {

int write_whole(int fd, const void* from, std::size_t bytes) noexcept {
  const auto* const begin = static_cast<const char*>(from);
  for (std::size_t done = 0; done < bytes;) {
    // What still fits is written without an error: the call for the rest has it.
    const ssize_t written =
        within_file_size_limit([&] { return ::pwrite(fd, begin + done, bytes - done, static_cast<off_t>(done)); });
    if (written > 0) done += static_cast<std::size_t>(written);
    if (written == 0) return ENOSPC;
    if (written < 0 && errno != EINTR) return errno;
  }
  return 0;
}

error file_size_limit_reached(const std::string& doing, std::uint64_t bytes) {
  rlimit limit{};
  const bool own = ::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur;
  const std::string words = doing + ": a file of " + std::to_string(bytes) + " bytes is larger than ";
  if (!own) return error(errc::limit_reached, words + "its file system allows", 0, EFBIG);
  return error(
      errc::limit_reached,
      words + "RLIMIT_FSIZE (ulimit -f) allows this process, " + std::to_string(limit.rlim_cur) + " bytes: raise it",
      limit.rlim_cur, EFBIG);
}

}  // namespace quoit::inline v1::detail
