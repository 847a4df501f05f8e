#include "storage/directory_handle.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "storage/made_names.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int directory_flags = O_RDONLY | O_DIRECTORY;
constexpr mode_t directory_mode = 0770;

}  // namespace

error storage_call_failed(const std::string& doing, const std::string& path, int why) {
  errc code = errc::system;
  if (why == EACCES || why == EPERM || why == EROFS) code = errc::no_permission;
  if (why == ENOENT || why == ENOTDIR) code = errc::not_found;
  if (why == ENOSPC || why == EDQUOT) code = errc::no_space;
  if (why == EMFILE || why == ENFILE) code = errc::limit_reached;
  return error(code, doing + " " + path, 0, why);
}

std::string absolute_path(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path whole = std::filesystem::absolute(path, failed);
  return failed ? path : whole.string();
}

bool leads_to(const std::string& absolute_path, const file_identity& file) noexcept {
  struct stat status{};
  if (::stat(absolute_path.c_str(), &status) == 0) return file_identity::of(status) == file;
  return errno != ENOENT && errno != ENOTDIR && errno != ELOOP;
}

result<directory_handle> directory_handle::open(std::string path) {
  fd opened = detail::open_file(path, directory_flags);
  if (!opened) return tl::unexpected(storage_call_failed("opening the directory", path, errno));
  return directory_handle(std::move(opened), std::move(path));
}

result<directory_handle> directory_handle::open_directory(const std::string& name) const {
  std::string path = path_of(name);
  fd opened = open_file_at(get(), name.c_str(), directory_flags);
  if (!opened) return tl::unexpected(storage_call_failed("opening the directory", path, errno));
  return directory_handle(std::move(opened), std::move(path));
}

result<directory_handle> directory_handle::make_directory(const std::string& name, made_names* made) const {
  if (::mkdirat(get(), name.c_str(), directory_mode) == 0) {
    if (made != nullptr) made->add_directory(*this, name);
  } else if (errno != EEXIST) {
    return tl::unexpected(storage_call_failed("making the directory", path_of(name), errno));
  }
  // Its name has to be there after a power failure, as what is flushed in it will be; also where its maker died before
  // it came here. A file system that has no such call for directories has no need of it.
  synchronize();
  return open_directory(name);
}

result<directory_handle> directory_handle::make(const std::string& path, made_names* made) {
  const bool is_new = ::mkdir(path.c_str(), directory_mode) == 0;
  if (!is_new && errno != EEXIST) return tl::unexpected(storage_call_failed("making the directory", path, errno));
  auto opened = open(path);
  if (!opened) return opened;
  if (const fd parent = opened->open_file("..", directory_flags); parent) ::fsync(parent.get());
  if (is_new && made != nullptr) {
    const std::string bare = path.substr(0, path.find_last_not_of('/') + 1);
    // It may be searched only.
    directory_handle parent(opened->open_file("..", O_PATH | O_DIRECTORY), opened->path_of(".."));
    if (parent.get() >= 0) made->add_directory(parent, bare.substr(bare.rfind('/') + 1));
  }
  return opened;
}

fd directory_handle::open_file(const std::string& name, int flags, mode_t mode) const noexcept {
  return open_file_at(get(), name.c_str(), flags, mode);
}

bool directory_handle::find(const std::string& name, struct stat& status) const noexcept {
  return ::fstatat(get(), name.c_str(), &status, 0) == 0;
}

bool directory_handle::remove(const std::string& name) const noexcept {
  return ::unlinkat(get(), name.c_str(), 0) == 0;
}

bool directory_handle::rename(const std::string& from, const std::string& to) const noexcept {
  return ::renameat2(get(), from.c_str(), get(), to.c_str(), RENAME_NOREPLACE) == 0;
}

bool directory_handle::synchronize() const noexcept { return ::fsync(get()) == 0; }

DIR* directory_handle::open_to_read() const noexcept {
  // A description of its own: where reading stands belongs to the description.
  fd reading = open_file_at(get(), ".", directory_flags);
  if (!reading) return nullptr;
  DIR* const opened = ::fdopendir(reading.get());
  if (opened != nullptr) static_cast<void>(reading.release());
  return opened;
}

}  // namespace quoit::inline v1::detail
