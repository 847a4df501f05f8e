#include "storage/lane_header.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/boot_id.hpp"
#include "base/fd.hpp"
#include "base/file_size_limit.hpp"
#include "base/random.hpp"

namespace quoit::inline v1::detail {

namespace {

u64 id_check(const log_lane_header& header) noexcept {
  return u64{crc32c_words(~u32{0}, reinterpret_cast<const std::byte*>(header.lane_id), sizeof header.lane_id)} |
         u64{1} << 32;
}

}  // namespace

error storage_call_failed(const std::string& doing, const std::string& path, int why) {
  errc code = errc::system;
  if (why == EACCES || why == EPERM || why == EROFS) code = errc::no_permission;
  if (why == ENOENT) code = errc::not_found;
  if (why == ENOSPC || why == EDQUOT) code = errc::no_space;
  if (why == EMFILE || why == ENFILE) code = errc::limit_reached;
  return error(code, doing + " " + path, 0, why);
}

result<void> set_file_aside(const std::string& path) {
  std::string to = path + ".cut";
  for (int n = 1; ::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0; ++n) {
    if (errno != EEXIST) return tl::unexpected(storage_call_failed("setting aside", path, errno));
    to = path + ".cut." + std::to_string(n);
  }
  return {};
}

void fill_lane_header(log_lane_header& header, const u64 (&id)[2]) noexcept {
  header.prefix.magic = log_lane_magic;
  header.prefix.layout_major = layout_major;
  header.prefix.layout_minor = layout_minor;
  header.prefix.header_bytes = sizeof(log_lane_header);
  header.prefix.segment_bytes = log_lane_bytes;
  std::memcpy(header.prefix.boot_id, boot_id().data(), sizeof header.prefix.boot_id);
  std::copy(id, id + 2, header.lane_id);
  header.check = id_check(header);
}

result<void> check_lane_header(const log_lane_header& header, const std::string& path) {
  if (header.prefix.magic != log_lane_magic) {
    return tl::unexpected(error(errc::corrupt, path + ": not a lane of quoit (another magic)"));
  }
  if (header.prefix.layout_major != layout_major || header.prefix.required_features != 0) {
    return tl::unexpected(error(errc::newer_version, path + ": made by a version of another layout (" +
                                                         std::to_string(header.prefix.layout_major) +
                                                         "); this one knows " + std::to_string(layout_major)));
  }
  if (header.check != id_check(header))
    return tl::unexpected(error(errc::corrupt, path + ": the check of its id is wrong"));
  return {};
}

result<void> make_lane_file(const std::string& directory, const u64 (&id)[2]) {
  char temporary_name[48];
  std::snprintf(temporary_name, sizeof temporary_name, ".making-%016llx",
                static_cast<unsigned long long>(random_id()[0]));
  const std::string temporary = directory + "/" + temporary_name;
  const std::string path = directory + "/" + lane_file_name;
  alignas(line_pair_bytes) std::byte page[log_lane_bytes]{};
  fill_lane_header(*new (page) log_lane_header{}, id);
  const fd file(::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0660));
  if (!file) return tl::unexpected(storage_call_failed("creating", temporary, errno));
  int why = write_whole(file.get(), page, sizeof page);
  if (why == 0 && ::fsync(file.get()) != 0) why = errno;
  // Not there or there already: somebody else was first, and is as good.
  if (why == 0 && ::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0 &&
      errno != EEXIST) {
    why = errno;
  }
  ::unlink(temporary.c_str());
  if (why == EFBIG) return tl::unexpected(file_size_limit_reached("writing " + path, sizeof page));
  if (why != 0) return tl::unexpected(storage_call_failed("writing", path, why));
  const fd folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) ::fsync(folder.get());
  return {};
}

}  // namespace quoit::inline v1::detail
