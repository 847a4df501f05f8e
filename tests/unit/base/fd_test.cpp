#include "base/fd.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/resource.h>

#include <cerrno>

#include "support/child.hpp"

using namespace quoit::detail;
using quoit::test::child;

namespace {

bool is_open(int number) { return ::fcntl(number, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("a descriptor that the kernel numbers 0, 1 or 2 gets a higher number, and is closed on exec") {
  child daemon([] {
    for (const int number : {0, 1, 2}) ::close(number);
    const fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const fd other(::open("/dev/null", O_RDONLY));
    const fd copy = duplicate(file.get());
    const pipe_ends pipe = make_pipe_ends(O_CLOEXEC);
    const directory_stream directory = open_directory("/proc/self");
    for (const int number : {file.get(), other.get(), copy.get(), pipe.read.get(), pipe.write.get()}) {
      if (number < 3 || !is_open(number)) return 1;
      if (::fcntl(number, F_GETFD) != FD_CLOEXEC) return 2;
    }
    if (!directory || ::dirfd(directory.get()) < 3 || ::readdir(directory.get()) == nullptr) return 3;
    for (const int number : {0, 1, 2}) {
      if (is_open(number)) return 4;
    }
    char c = 'x';
    if (::write(pipe.write.get(), &c, 1) != 1 || ::read(pipe.read.get(), &c, 1) != 1) return 5;
    return 0;
  });
  CHECK(daemon.wait().status == 0);
}

TEST_CASE("where no higher number is to be had there is no descriptor, and the low one is closed") {
  child daemon([] {
    ::close(0);
    // So many that no number from 3 on is free.
    while (is_open(::dup(1))) {
    }
    ::close(0);
    const fd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (file || errno != EMFILE || is_open(0)) return 1;
    // And where RLIMIT_NOFILE itself is too low for such a number.
    const rlimit three{3, 3};
    if (::setrlimit(RLIMIT_NOFILE, &three) != 0) return 2;
    const fd again(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (again || errno != EMFILE || is_open(0)) return 3;
    return 0;
  });
  CHECK(daemon.wait().status == 0);
}

TEST_CASE("what could not be opened has no owner, and errno stays") {
  const fd none(::open("/dev/no such file", O_RDONLY | O_CLOEXEC));
  CHECK(errno == ENOENT);
  CHECK_FALSE(static_cast<bool>(none));
  CHECK_FALSE(static_cast<bool>(duplicate(-1)));
  CHECK(errno == EBADF);
  CHECK_FALSE(static_cast<bool>(open_directory("/dev/null")));
  CHECK(errno == ENOTDIR);
}
