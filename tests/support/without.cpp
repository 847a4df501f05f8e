// without WHAT PROGRAM [ARGUMENT...]: runs a program where part of the kernel is not to be had.
//
//   io_uring=EPERM    its system calls are answered like this: by Docker and containerd, and by
//   io_uring=ENOSYS   Podman, or a kernel that is built without
//   5.15, 5.10        what came later than this version of Linux is refused, as far as the executor could ask for it:
//   see
//                     older_io_uring.cpp, which is preloaded
//
// Nothing of this machine is changed: a filter holds for the process and for what it begins.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "support/refuse.hpp"

namespace {

// The highest number of a system call in Linux 5.10 and 5.15, on every processor: numbers are the same since 5.0.
constexpr long last_of_5_10 = 440;
constexpr long last_of_5_15 = 448;

bool set_up(const std::string& what) {
  const auto io_uring = {long{SYS_io_uring_setup}, long{SYS_io_uring_enter}, long{SYS_io_uring_register}};
  if (what == "io_uring=EPERM") return quoit::test::refuse(io_uring, EPERM);
  if (what == "io_uring=ENOSYS") return quoit::test::refuse(io_uring, ENOSYS);
  ::setenv("QUOIT_TEST_KERNEL", what.c_str(), 1);
  ::setenv("LD_PRELOAD", QUOIT_OLDER_IO_URING, 1);
  return quoit::test::refuse({}, 0, what == "5.15" ? last_of_5_15 : last_of_5_10);
}

}  // namespace

int main(int count, char** arguments) {
  const std::string what = count > 2 ? arguments[1] : "";
  if (what != "io_uring=EPERM" && what != "io_uring=ENOSYS" && what != "5.15" && what != "5.10") {
    std::fputs("usage: without io_uring=EPERM|io_uring=ENOSYS|5.15|5.10 PROGRAM [ARGUMENT...]\n", stderr);
    return 2;
  }
  if (!set_up(what)) {
    std::printf("SKIP: no filter of system calls can be set here: %s\n", std::strerror(errno));
    return 77;
  }
  ::execv(arguments[2], arguments + 2);
  std::perror(arguments[2]);
  return 127;
}
