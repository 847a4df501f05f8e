// A directory that is open.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "quoit/detail/atomic.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

error storage_call_failed(const std::string& doing, const std::string& path, int why);

class made_names;

// Which file it is, whatever names it has.
struct file_identity {
  u64 device = 0;
  u64 inode = 0;

  static file_identity of(const struct stat& status) noexcept { return {status.st_dev, status.st_ino}; }
  friend bool operator==(const file_identity&, const file_identity&) = default;
};

// Without `.` and `..`, but with links: where those lead may change.
std::string absolute_path(const std::string& path);

// Whether a path leads to this file, or else the file, or a directory above it, was renamed, removed or replaced. True
// also where the kernel does not tell.
bool leads_to(const std::string& absolute_path, const file_identity& file) noexcept;
// How often a publisher and the holder of a subscription ask that.
inline constexpr std::chrono::seconds between_looks_at_path{1};

// Calls through a handle reach the directory that was opened, also after it was renamed, removed or replaced: another
// process may have a directory under its old path by then. The path is for messages. Copies share the descriptor.
//
// Thread safety: const members from any thread.
class directory_handle {
 public:
  directory_handle() = default;
  // Errors: not_found, no_permission, limit_reached, system.
  static result<directory_handle> open(std::string path);
  // The directory `name` in this one. Errors: as above.
  result<directory_handle> open_directory(const std::string& name) const;
  // The same; makes it where it is missing. On return its name is on the disk, as far as the file system can do that.
  // `made` hears of it if this call made it. Errors: also no_space.
  result<directory_handle> make_directory(const std::string& name, made_names* made = nullptr) const;
  // Makes the last component of `path` where it is missing. Errors: as above.
  static result<directory_handle> make(const std::string& path, made_names* made = nullptr);

  int get() const noexcept { return descriptor_ ? descriptor_->get() : -1; }
  const std::string& path() const noexcept { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }

  // As openat(), close-on-exec; errno says why there is none.
  fd open_file(const std::string& name, int flags, mode_t mode = 0) const noexcept;
  // False: errno says why.
  bool find(const std::string& name, struct stat& status) const noexcept;
  bool remove(const std::string& name) const noexcept;
  // Fails with EEXIST where `to` is there.
  bool rename(const std::string& from, const std::string& to) const noexcept;
  // Puts names on the disk. False: errno says why.
  bool synchronize() const noexcept;

  // Calls each(name). False: the directory cannot be read, errno says why.
  template <class Each>
  bool for_each_name(Each&& each) const {
    const std::unique_ptr<DIR, int (*)(DIR*)> reading(open_to_read(), ::closedir);
    if (!reading) return false;
    while (const dirent* const entry = ::readdir(reading.get())) each(std::string(entry->d_name));
    return true;
  }

 private:
  directory_handle(fd descriptor, std::string path)
      : descriptor_(std::make_shared<const fd>(std::move(descriptor))), path_(std::move(path)) {}
  DIR* open_to_read() const noexcept;

  std::shared_ptr<const fd> descriptor_;
  std::string path_;
};

}  // namespace quoit::inline v1::detail
