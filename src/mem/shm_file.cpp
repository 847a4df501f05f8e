#include "mem/shm_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>

#include "base/allocate.hpp"
#include "base/call_failed.hpp"
#include "base/directory_names.hpp"
#include "base/file_lock.hpp"
#include "base/file_size_limit.hpp"
#include "base/random.hpp"

namespace quoit::inline v1::detail {

namespace {

error failed(const std::string& doing, const std::string& name, int why) {
  errc code = errc::system;
  std::string hint;
  std::uint64_t value = 0;
  if (why == EACCES || why == EPERM) {
    code = errc::no_permission;
    hint = ": it belongs to another user, or its mode or group lets nobody else in (bus_options permissions and group)";
  } else if (why == ENOENT) {
    code = errc::not_found;
  } else if (why == ENOSPC) {
    code = errc::no_space;
    hint =
        std::string(": ") + shm_directory +
        " has no inodes left (df -i); remove files there, make it larger (mount -o remount,nr_inodes=...), or let all "
        "processes of the bus go without it (transport::kernel, QUOIT_TRANSPORT=kernel)";
  } else if (why == EMFILE || why == ENFILE) {
    code = errc::limit_reached;
    rlimit limit{};
    if (why == EMFILE && ::getrlimit(RLIMIT_NOFILE, &limit) == 0) value = limit.rlim_cur;
    hint = why == EMFILE ? ": too many open files in this process (ulimit -n)"
                         : ": too many open files on this machine (sysctl fs.file-max)";
  }
  return error(code, doing + " " + shm_path(name) + hint, value, why);
}

error no_space(const std::string& name, const shm_purpose& purpose, std::size_t bytes) {
  struct statvfs fs{};
  std::string free = "an unknown number of bytes free";
  if (::statvfs(shm_directory, &fs) == 0) {
    free = std::to_string(std::uint64_t{fs.f_bavail} * fs.f_frsize) + " of its " +
           std::to_string(std::uint64_t{fs.f_blocks} * fs.f_frsize) + " bytes free";
  }
  return error(
      errc::no_space,
      "allocating " + std::to_string(bytes) + " bytes for " +
          (purpose.object.empty() ? shm_path(name) : purpose.object) + ": " + shm_directory + " has " + free +
          "; make it larger (mount -o remount,size=..., docker --shm-size)" +
          (*purpose.option == '\0' ? std::string() : std::string(" or ask for less (") + purpose.option + ")") +
          ", or let all processes of the bus go without it (transport::kernel, QUOIT_TRANSPORT=kernel)",
      bytes, ENOSPC);
}

// `why` is set to the errno if it fails.
guarded_fd open_guarded(const std::string& name, access how, int& why) {
  const std::string path = "/" + name;
  const int flags = how == access::read ? O_RDONLY : O_RDWR;
  return guarded_fd::opened_by([&] {
    fd descriptor = open_shared_memory(path, flags);
    if (!descriptor) why = errno;
    return descriptor;
  });
}

}  // namespace

result<shm_file> make_shm(const std::string& prefix, std::size_t bytes, const shm_purpose& purpose) {
  shm_file file;
  fd memory_of;
  for (int attempt = 0; !file.descriptor; ++attempt) {
    char random[20];
    std::snprintf(random, sizeof random, "%016llx", static_cast<unsigned long long>(random_id()[0]));
    file.name = prefix + random;
    memory_of = open_shared_memory("/" + file.name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!memory_of) return tl::unexpected(failed("creating", file.name, errno));
    // The lock goes through a description of its own: a mapping keeps a description, and with it the lock.
    int why = EAGAIN;
    guarded_fd lock_of = open_guarded(file.name, access::read_write, why);
    // Somebody who tidies up may have seen it before it was locked.
    if (lock_of && try_lock(lock_of.get(), shm_lock_byte) == lock_status::taken && !is_unlinked(lock_of.get())) {
      file.descriptor = std::move(lock_of);
      break;
    }
    unlink_shm(file.name);
    if (attempt == 100 || (!lock_of && why != ENOENT)) return tl::unexpected(failed("locking", file.name, why));
  }
  const int descriptor = memory_of.get();
  const std::string& temporary = file.name;
  const auto undo = [&](error e) {
    unlink_shm(temporary);
    return tl::unexpected(std::move(e));
  };
  // Without this a full file system would be a SIGBUS at some later store.
  if (const int why = allocate_range(descriptor, 0, static_cast<off_t>(bytes)); why != 0) {
    if (why == EFBIG) return undo(file_size_limit_reached("allocating " + shm_path(temporary), bytes));
    if (why == ENOSPC) return undo(no_space(temporary, purpose, bytes));
    return undo(failed("allocating", temporary, why));
  }
  auto memory = map_file(descriptor, bytes, access::read_write, temporary.c_str());
  if (!memory) return undo(std::move(memory.error()));
  populate(*memory);
  file.memory = std::move(*memory);
  return file;
}

result<bool> place_shm(shm_file& file, const std::string& name, const shm_permissions& permissions) {
  auto placed = place_shm(file.descriptor.get(), file.name, name, permissions);
  if (placed && *placed) file.name = name;
  return placed;
}

result<bool> place_shm(int fd, const std::string& temporary, const std::string& name,
                       const shm_permissions& permissions) {
  const auto undo = [&](error e) {
    unlink_shm(temporary);
    return tl::unexpected(std::move(e));
  };
  if (permissions.group >= 0 && ::fchown(fd, static_cast<uid_t>(-1), static_cast<gid_t>(permissions.group)) != 0) {
    return undo(failed("giving to group " + std::to_string(permissions.group), temporary, errno));
  }
  // Not at creation: there the umask would take its part.
  if (::fchmod(fd, permissions.mode) != 0) return undo(failed("fchmod of", temporary, errno));
  if (::renameat2(AT_FDCWD, shm_path(temporary).c_str(), AT_FDCWD, shm_path(name).c_str(), RENAME_NOREPLACE) != 0) {
    const int why = errno;
    if (why != EEXIST) return undo(failed("naming", name, why));
    unlink_shm(temporary);
    return false;
  }
  return true;
}

result<fd> open_shm(const std::string& name, access how) {
  const int flags = how == access::read ? O_RDONLY : O_RDWR;
  fd descriptor = open_shared_memory("/" + name, flags);
  if (!descriptor) return tl::unexpected(failed("opening", name, errno));
  return descriptor;
}

result<guarded_fd> open_shm_for_locks(const std::string& name, access how) {
  int why = 0;
  guarded_fd descriptor = open_guarded(name, how, why);
  if (!descriptor) return tl::unexpected(failed("opening", name, why));
  return descriptor;
}

result<guarded_fd> open_shm_directory_for_locks() {
  int why = 0;
  guarded_fd directory = guarded_fd::opened_by([&] {
    fd opened = open_file(shm_directory, O_RDONLY | O_DIRECTORY);
    if (!opened) why = errno;
    return opened;
  });
  if (directory) return directory;
  const std::string path = shm_directory;
  if (why == EACCES || why == EPERM) {
    return tl::unexpected(error(errc::no_permission,
                                "opening " + path +
                                    " for reading: each process on a bus holds a lock on it (chmod 1777 " + path +
                                    ", or let all processes of the bus go without it: transport::kernel, "
                                    "QUOIT_TRANSPORT=kernel)",
                                0, why));
  }
  if (why == ENOENT) return tl::unexpected(error(errc::not_found, path + " is missing", 0, why));
  return tl::unexpected(call_failed("opening " + path, why));
}

result<mapping> map_by_name(const std::string& name, std::size_t bytes, access how) {
  auto file = open_shm(name, how);
  if (!file) return tl::unexpected(std::move(file.error()));
  // Shorter by now: whoever touched the rest would get SIGBUS.
  if (file_bytes(file->get()) < bytes) return tl::unexpected(error(errc::corrupt, shm_path(name) + " was cut short"));
  return map_file(file->get(), bytes, how, name.c_str());
}

std::uint64_t file_bytes(int fd) noexcept {
  struct stat status{};
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

void unlink_shm(const std::string& name) noexcept {
  // Nothing is allocated: what could not be made for want of memory is removed with this.
  char path[NAME_MAX + 2] = "/";
  if (name.size() > NAME_MAX) return;
  name.copy(path + 1, NAME_MAX);
  ::shm_unlink(path);
}

bool is_unlinked(int fd) noexcept {
  struct stat status{};
  return ::fstat(fd, &status) == 0 && status.st_nlink == 0;
}

void remove_if_abandoned(const std::string& temporary) noexcept {
  const fd file = open_shared_memory("/" + temporary, O_RDWR);
  // Through a description of our own: its maker holds the lock through another, if it lives.
  if (file && try_lock(file.get(), shm_lock_byte) == lock_status::taken) unlink_shm(temporary);
}

result<void> look_into_shm() {
  const auto names = names_in_directory(shm_directory);
  if (names) return {};
  const std::string path = shm_directory;
  const error& why = names.error();
  if (why == errc::not_found) {
    return tl::unexpected(error(errc::not_found, path + " is missing: nothing is in it", 0, why.system_errno()));
  }
  return tl::unexpected(
      error(why.code(), path + " cannot be looked into: what is in it stays as it is", 0, why.system_errno()));
}

result<std::vector<std::string>> list_shm(const std::string& prefix) {
  auto names = names_in_directory(shm_directory);
  if (!names && names.error() == errc::not_found) return std::vector<std::string>();
  if (!names) return names;
  std::erase_if(*names, [&](const std::string& name) { return !name.starts_with(prefix); });
  return names;
}

}  // namespace quoit::inline v1::detail
