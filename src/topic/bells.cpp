#include "topic/bells.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <new>

#include "base/call_counts.hpp"

namespace quoit::inline v1::detail {

namespace {

std::string path_of(const std::string& file_name) { return std::string(shm_directory) + "/" + file_name; }

// What an eventfd takes, and a pipe as well. One that is full is heard already.
void write_to(int descriptor) noexcept {
  const std::uint64_t one = 1;
  count_call(calls_made.wakes);
  [[maybe_unused]] const auto written = ::write(descriptor, &one, sizeof one);
}

fd open_pipe(const char* path) noexcept {
  fd descriptor(::open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat status{};
  // Whatever else may lie under that name is not written to.
  if (!descriptor) return descriptor;
  const bool is_pipe = ::fstat(descriptor.get(), &status) == 0 && S_ISFIFO(status.st_mode);
  if (!is_pipe) {
    descriptor.reset();
    errno = EINVAL;
  }
  return descriptor;
}

}  // namespace

int bells::own(const std::string& file_name, const shm_permissions& permissions) noexcept try {
  if (own_) return own_.get();
  if (file_name.empty()) {
    own_ = fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    return own_.get();
  }
  const std::string path = path_of(file_name);
  // Nobody looks for it before it is named in `sleeping`.
  if (::mkfifo(path.c_str(), 0600) != 0) return -1;
  fd made = open_pipe(path.c_str());
  const bool given =
      permissions.group < 0 || ::fchown(made.get(), static_cast<uid_t>(-1), static_cast<gid_t>(permissions.group)) == 0;
  if (!made || !given || ::fchmod(made.get(), permissions.mode) != 0) {
    ::unlink(path.c_str());
    return -1;
  }
  own_ = std::move(made);
  return own_.get();
} catch (const std::bad_alloc&) {
  return -1;
}

void bells::ring_own() const noexcept {
  if (own_) write_to(own_.get());
}

const bells::other* bells::find(u32 node, u64 generation) const noexcept {
  for (const other& o : others_) {
    if (o.node == node && o.generation == generation) return &o;
  }
  return nullptr;
}

bool bells::ring(u32 node, u64 generation, const std::string& file_name) noexcept try {
  if (const other* const known = find(node, generation)) {
    write_to(known->descriptor.get());
    return true;
  }
  fd descriptor = open_pipe(path_of(file_name).c_str());
  if (!descriptor && (errno == EMFILE || errno == ENFILE) && !others_.empty()) {
    others_.pop_back();
    descriptor = open_pipe(path_of(file_name).c_str());
  }
  if (!descriptor) return false;
  write_to(descriptor.get());
  if (others_.size() < others_max) {
    others_.push_back({node, generation, std::move(descriptor)});
  } else {
    others_[next_to_go_++ % others_max] = {node, generation, std::move(descriptor)};
  }
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

}  // namespace quoit::inline v1::detail
