#include "quoit/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "base/fd.hpp"
#include "mem/mapping.hpp"

namespace quoit::inline v1 {

namespace {

using access = mapped_file::access;

error failed(const std::string& what, int why) {
  errc code = errc::system;
  std::string hint;
  if (why == EACCES || why == EPERM || why == EROFS) {
    code = errc::no_permission;
  } else if (why == ENOENT || why == ENOTDIR) {
    code = errc::not_found;
  } else if (why == EMFILE || why == ENFILE) {
    code = errc::limit_reached;
    hint = ": too many open files (ulimit -n)";
  } else if (why == EWOULDBLOCK) {
    code = errc::busy;
    hint = ": another process holds a lease on it";
  }
  return error(code, "opening " + what + hint, 0, why);
}

// By its number: a device is not opened to find out what it is, as that may start something.
bool is_terminal(dev_t device) {
  const unsigned number = major(device);
  return number == 4 || number == 5 || (number >= 136 && number <= 143);
}

// What it is, why it cannot be mapped, and what to do; empty if it can.
std::string obstacle(const struct stat& status) {
  const char* const in_order =
      "its bytes come in order and have no place to be looked at again; use read() and write()";
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      if (status.st_size > 0) return {};
      return "an empty file, and a mapping of no bytes cannot be; write to it first, or make it as long as it shall be "
             "(ftruncate). Files of /proc say that they are empty whatever they hold: use read()";
    case S_IFDIR: return "a directory, which has entries and no bytes; map a file in it";
    case S_IFIFO: return std::string("a pipe: ") + in_order;
    case S_IFSOCK:
      return "a socket: its bytes come in order and have no place to be looked at again; connect to it, or use "
             "recv() and send()";
    case S_IFCHR:
      if (is_terminal(status.st_rdev)) return std::string("a terminal: ") + in_order;
      return "a character device: what a mapping of it shows is its driver's affair, and it has no size; use read() "
             "and "
             "write(), or what its driver documents";
    case S_IFBLK:
      return "a block device, whose size is not that of a file; use read() and write(), or map a file on it";
    default: return "no regular file; use read() and write()";
  }
}

error refused(const std::string& what, const std::string& obstacle_words, int why = 0) {
  return error(errc::invalid_argument, what + " cannot be mapped: it is " + obstacle_words, 0, why);
}

// Copies to `to`, memory of this process that may lack its page: an answer instead of a SIGBUS. The kernel stores, as
// it does for read() of a pipe; bytes that arrived, or -1 and errno. For where process_vm_writev is forbidden.
ssize_t store_by_pipe(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  const detail::pipe_ends pipe = detail::make_pipe_ends(O_NONBLOCK);
  if (!pipe.read) return -1;
  const ssize_t waiting = ::write(pipe.write.get(), from, bytes);  // as much as a pipe takes
  return waiting < 0 ? -1 : ::read(pipe.read.get(), to, static_cast<std::size_t>(waiting));
}

ssize_t store(std::byte* to, const std::byte* from, std::size_t bytes) noexcept {
  // The first is only read, for all that its type says.
  const iovec source{const_cast<std::byte*>(from), bytes};
  const iovec target{to, bytes};
  const ssize_t stored = ::process_vm_writev(::getpid(), &source, 1, &target, 1, 0);
  if (stored < 0 && (errno == EPERM || errno == ENOSYS || errno == EACCES)) return store_by_pipe(to, from, bytes);
  return stored;
}

// A copy that stops in a file that is long enough is tried again: it may have been shorter for a moment. Each time
// after a longer pause, or one who cuts the file and lets it grow in a loop could be met at the same point of it each
// time.
constexpr int copy_attempts_max = 30;

// Moves all bytes by `move(done)`, which answers how many, 0 or -1 with EFAULT where the file ends.
template <class Move>
result<void> move_all(const mapped_file& file, std::uint64_t offset, std::size_t bytes, Move move) noexcept {
  std::size_t done = 0;
  for (int attempts = 0;;) {
    const ssize_t moved = done < bytes ? move(done) : 0;
    const int why = moved < 0 ? errno : 0;
    if (why == EINTR) continue;
    if (why == EMFILE || why == ENFILE) return tl::unexpected(error(errc::limit_reached, done, why));
    if (moved < 0 && why != EFAULT) return tl::unexpected(error(errc::system, done, why));
    if (moved > 0) {
      done += static_cast<std::size_t>(moved);
      attempts = 0;
      if (done < bytes) continue;
    }
    // Asked after the copy, also of one that is whole. The last page of a file can be stored to behind the file's end,
    // where it goes nowhere; and a page that is cut while it is read can be read as zeros.
    const auto size = file.size_now();
    if (!size) return tl::unexpected(size.error());
    if (*size < offset + bytes) {
      const std::uint64_t there = *size > offset ? *size - offset : 0;
      return tl::unexpected(error(errc::truncated, std::min<std::uint64_t>(done, there)));
    }
    if (done == bytes) return {};
    if (++attempts == copy_attempts_max) return tl::unexpected(error(errc::system, done, EFAULT));
    std::this_thread::sleep_for(std::chrono::microseconds(attempts * attempts));
  }
}

}  // namespace

result<mapped_file> mapped_file::map(int owned, const std::string& what, access how) {
  detail::fd descriptor(owned);
  struct stat status{};
  if (::fstat(owned, &status) != 0) return tl::unexpected(failed(what, errno));
  // What it is comes first: a socket is open for both, and cannot be mapped all the same.
  if (const std::string words = obstacle(status); !words.empty()) return tl::unexpected(refused(what, words));
  const int flags = ::fcntl(owned, F_GETFL);
  const int mode = flags & O_ACCMODE;
  if (flags < 0 || (flags & O_PATH) != 0 || mode == O_WRONLY || (mode == O_RDONLY && how == access::read_write)) {
    return tl::unexpected(error(errc::no_permission,
                                what + " was not opened for reading" +
                                    (how == access::read ? "" : " and writing (O_RDWR)") +
                                    "; a mapping needs that, also to write only",
                                0, EACCES));
  }
  auto memory = detail::map_file(owned, static_cast<std::size_t>(status.st_size),
                                 how == access::read ? detail::access::read : detail::access::read_write, what.c_str());
  if (!memory && memory.error().system_errno() == ENODEV) {
    return tl::unexpected(refused(what, "a file of a file system that maps none; use read() and write()", ENODEV));
  }
  if (!memory) return tl::unexpected(std::move(memory.error()));
  const std::size_t size = memory->bytes();
  return mapped_file(memory->release(), size, descriptor.release(), how);
}

result<mapped_file> mapped_file::open(std::string_view path, access how) {
  const std::string what(path);
  // Before it is opened: opening a device can start something, and a pipe would wait for its other end.
  struct stat status{};
  if (::stat(what.c_str(), &status) != 0) return tl::unexpected(failed(what, errno));
  if (const std::string words = obstacle(status); !words.empty()) return tl::unexpected(refused(what, words));
  const int flags = how == access::read ? O_RDONLY : O_RDWR;
  // It may be something else by now: it is asked again what it is, and this does not wait.
  detail::fd descriptor = detail::open_file(what, flags | O_NONBLOCK | O_NOCTTY);
  if (!descriptor) return tl::unexpected(failed(what, errno));
  return map(descriptor.release(), what, how);
}

result<mapped_file> mapped_file::open(int given, access how) {
  const std::string what = "descriptor " + std::to_string(given);
  detail::fd descriptor = detail::duplicate(given);
  if (!descriptor) return tl::unexpected(failed(what, errno));
  return map(descriptor.release(), what, how);
}

mapped_file::mapped_file(mapped_file&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      how_(other.how_) {}

mapped_file& mapped_file::operator=(mapped_file&& other) noexcept {
  if (this != &other) {
    close();
    base_ = std::exchange(other.base_, nullptr);
    size_ = std::exchange(other.size_, 0);
    descriptor_ = std::exchange(other.descriptor_, -1);
    how_ = other.how_;
  }
  return *this;
}

mapped_file::~mapped_file() { close(); }

void mapped_file::close() noexcept {
  if (base_ != nullptr) ::munmap(base_, size_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

result<std::uint64_t> mapped_file::size_now() const noexcept {
  struct stat status{};
  if (::fstat(descriptor_, &status) != 0) return tl::unexpected(error(errc::system, 0, errno));
  return static_cast<std::uint64_t>(status.st_size);
}

result<void> mapped_file::copy_out(std::uint64_t offset, std::span<std::byte> into) const noexcept {
  if (offset > size_ || into.size() > size_ - offset) return tl::unexpected(error(errc::invalid_argument, size_));
  // Through the descriptor: the same pages as the mapping's, it stops at the last byte and not at the last page, and is
  // cheaper than process_vm_readv.
  return move_all(*this, offset, into.size(), [&](std::size_t done) {
    return ::pread(descriptor_, into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
  });
}

result<void> mapped_file::copy_in(std::uint64_t offset, std::span<const std::byte> from) noexcept {
  if (how_ == access::read) return tl::unexpected(error(errc::no_permission, 0, EACCES));
  if (offset > size_ || from.size() > size_ - offset) return tl::unexpected(error(errc::invalid_argument, size_));
  // Through the mapping: pwrite would make a file that was cut as long as before.
  return move_all(*this, offset, from.size(), [&](std::size_t done) {
    return store(base_ + offset + done, from.data() + done, from.size() - done);
  });
}

result<void> mapped_file::sync() noexcept {
  // The whole file, with what was stored through its mappings: msync(MS_SYNC) is the same of a part.
  while (::fdatasync(descriptor_) != 0) {
    const int why = errno;
    if (why == EINTR) continue;
    return tl::unexpected(error(why == ENOSPC || why == EDQUOT ? errc::no_space : errc::system, 0, why));
  }
  return {};
}

result<void> mapped_file::advise(advice how) noexcept {
  int word = MADV_NORMAL;
  switch (how) {
    case advice::normal: break;
    case advice::sequential: word = MADV_SEQUENTIAL; break;
    case advice::random: word = MADV_RANDOM; break;
    case advice::will_need: word = MADV_WILLNEED; break;
  }
  if (::madvise(base_, size_, word) != 0) return tl::unexpected(error(errc::system, 0, errno));
  return {};
}

}  // namespace quoit::inline v1
