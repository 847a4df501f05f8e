#include "channels.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "work.hpp"

namespace bench {

namespace {

[[noreturn]] void fail(const char* doing) {
  throw std::runtime_error(std::string(doing) + ": " + std::strerror(errno));
}

using part = std::vector<std::byte>;

void write_part(int file, const part& p, std::size_t n) {
  if (::pwrite(file, p.data(), p.size(), static_cast<off_t>(n * p.size())) != static_cast<ssize_t>(p.size()))
    fail("writing a memfd");
}
void read_part(int file, part& p, std::size_t n) {
  if (::pread(file, p.data(), p.size(), static_cast<off_t>(n * p.size())) != static_cast<ssize_t>(p.size()))
    fail("reading a memfd");
}

}  // namespace

channels::channels(bool with_files) {
  if (::pipe2(there_, O_CLOEXEC) != 0 || ::pipe2(back_, O_CLOEXEC) != 0) fail("pipe2");
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets_) != 0) fail("socketpair");
  if (!with_files) return;
  // Where files usually lie; in a tmpfs, where that cannot be.
  const char* const folder = std::getenv("TMPDIR");
  source_ = ::open(folder != nullptr ? folder : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (source_ < 0) source_ = ::memfd_create("quoit-bench-source", MFD_CLOEXEC);
  target_ = ::memfd_create("quoit-bench-target", MFD_CLOEXEC);
  if (source_ < 0 || target_ < 0) fail("memfd_create");
  part p(file_part_bytes);
  for (std::size_t n = 0; n < file_parts; ++n) {
    produce(p.data(), p.size(), n * file_part_bytes);
    write_part(source_, p, n);
  }
  spoil_target();
}

channels::~channels() {
  for (const int fd : {there_[0], there_[1], back_[0], back_[1], sockets_[0], sockets_[1], source_, target_}) {
    if (fd >= 0) ::close(fd);
  }
}

void channels::spoil_target() const {
  const part zeros(file_part_bytes);
  for (std::size_t n = 0; n < file_parts; ++n) write_part(target_, zeros, n);
}

bool channels::target_is_source() const {
  part a(file_part_bytes), b(file_part_bytes);
  for (std::size_t n = 0; n < file_parts; ++n) {
    read_part(source_, a, n);
    read_part(target_, b, n);
    if (a != b) return false;
  }
  return true;
}

}  // namespace bench
