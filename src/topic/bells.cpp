#include "topic/bells.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <new>

#include "base/call_counts.hpp"

namespace quoit::inline v1::detail {

namespace {

// What an eventfd takes, and a pipe as well. One that is full is heard already.
void write_to(int descriptor) noexcept {
  const std::uint64_t one = 1;
  count_call(calls_made.wakes);
  [[maybe_unused]] const auto written = ::write(descriptor, &one, sizeof one);
}

constexpr int pipe_flags = O_RDWR | O_NONBLOCK | O_NOCTTY;

bool is_pipe(int descriptor, struct stat& status) noexcept {
  return ::fstat(descriptor, &status) == 0 && S_ISFIFO(status.st_mode);
}

fd open_named(const char* path) noexcept {
  fd descriptor = open_file(path, pipe_flags | O_NOFOLLOW);
  struct stat status{};
  if (!descriptor || is_pipe(descriptor.get(), status)) return descriptor;
  // Whatever else may lie under that name is not written to.
  descriptor.reset();
  errno = EINVAL;
  return descriptor;
}

// Of another process. What it has there is looked at before it is opened: it may be something else by now.
fd open_unnamed(const char* path, u64 inode) noexcept {
  const fd place = open_file(path, O_PATH);
  if (!place) return {};
  struct stat status{};
  struct statfs kind{};
  const bool same = is_pipe(place.get(), status) && status.st_ino == inode && ::fstatfs(place.get(), &kind) == 0 &&
                    kind.f_type == PIPEFS_MAGIC;
  errno = EINVAL;
  if (!same) return {};
  char link[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", place.get());
  return open_file(link, pipe_flags);
}

fd open_pipe(const char* path, u64 inode) noexcept { return inode == 0 ? open_named(path) : open_unnamed(path, inode); }

}  // namespace

// Nobody looks for it before it is named in the words of whoever it is for.
fd make_pipe(const std::string& file_name, const shm_permissions& permissions) {
  const std::string path = shm_path(file_name);
  if (::mkfifo(path.c_str(), 0600) != 0) return {};
  fd made = open_named(path.c_str());
  const bool whole = made &&
                     (permissions.group < 0 ||
                      ::fchown(made.get(), static_cast<uid_t>(-1), static_cast<gid_t>(permissions.group)) == 0) &&
                     ::fchmod(made.get(), permissions.mode) == 0;
  if (whole) return made;
  const int why = errno;
  ::unlink(path.c_str());
  errno = why;
  return {};
}

int bells::own(const std::string& file_name, const shm_permissions& permissions) noexcept try {
  if (file_name.empty()) {
    own_ = make_eventfd(EFD_NONBLOCK);
    return own_.get();
  }
  own_ = make_pipe(file_name, permissions);
  return own_.get();
} catch (const std::bad_alloc&) {
  return -1;
}

int bells::own_unnamed(u64& inode) noexcept {
  const pipe_ends ends = make_pipe_ends(O_NONBLOCK);
  if (!ends.read) return -1;
  // One descriptor for both, as that of a named one.
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", ends.read.get());
  own_ = open_file(path, O_RDWR | O_NONBLOCK);
  struct stat status{};
  if (!own_ || ::fstat(own_.get(), &status) != 0) return -1;
  inode = status.st_ino;
  return own_.get();
}

void bells::ring_own() const noexcept {
  if (own_) write_to(own_.get());
}

const bells::other* bells::find(u32 node, u64 generation, u32 pipe) const noexcept {
  for (const other& o : others_) {
    if (o.node == node && o.generation == generation && o.pipe == pipe) return &o;
  }
  return nullptr;
}

bool bells::ring_known(u32 node, u64 generation, u32 pipe) const noexcept {
  const other* const known = find(node, generation, pipe);
  if (known != nullptr) write_to(known->descriptor.get());
  return known != nullptr;
}

bool bells::ring(u32 node, u64 generation, u32 pipe, const std::string& name, u64 inode) noexcept try {
  if (ring_known(node, generation, pipe)) return true;
  const std::string path = inode == 0 ? shm_path(name) : name;
  fd descriptor = open_pipe(path.c_str(), inode);
  if (!descriptor && (errno == EMFILE || errno == ENFILE) && !others_.empty()) {
    others_.pop_back();
    descriptor = open_pipe(path.c_str(), inode);
  }
  if (!descriptor) return false;
  write_to(descriptor.get());
  if (others_.size() < others_max) {
    others_.push_back({node, generation, pipe, std::move(descriptor)});
  } else {
    others_[next_to_go_++ % others_max] = {node, generation, pipe, std::move(descriptor)};
  }
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

}  // namespace quoit::inline v1::detail
