#include "storage/allocation.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/allocate.hpp"
#include "base/file_size_limit.hpp"

namespace quoit::inline v1::detail {

error allocation_failed(const directory_handle& where, const std::string& what, const std::string& path, u64 bytes,
                        int why) {
  if (why == ENOSPC || why == EDQUOT) {
    struct statvfs fs{};
    std::string free = "an unknown number of";
    if (::fstatvfs(where.get(), &fs) == 0) free = std::to_string(u64{fs.f_bavail} * fs.f_frsize);
    return error(errc::no_space,
                 "allocating " + what + " of " + std::to_string(bytes) + " bytes in " + where.path() + ": " + free +
                     " bytes are free there; make room, or keep less (retention)",
                 bytes, why);
  }
  if (why == EFBIG) return file_size_limit_reached("allocating " + what + " in " + where.path(), bytes);
  if (why == EOPNOTSUPP) {
    return error(errc::invalid_argument, where.path() + " is on a file system that cannot allocate ahead", 0, why);
  }
  return storage_call_failed("allocating", path, why);
}

result<void> fill_holes(const directory_handle& where, int file, const std::string& path, u64 bytes) {
  const off_t hole = ::lseek(file, 0, SEEK_HOLE);
  if (hole >= static_cast<off_t>(bytes)) return {};
  const int why = allocate_range(file, 0, static_cast<off_t>(bytes));
  if (why == 0) return {};
  return tl::unexpected(allocation_failed(where, "the holes of " + path + ",", path, bytes, why));
}

}  // namespace quoit::inline v1::detail
