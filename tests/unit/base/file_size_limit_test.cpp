#include "base/file_size_limit.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fd.hpp"
#include "support/child.hpp"

using namespace quoit::detail;
using quoit::errc;
using quoit::test::child;
using quoit::test::ending;

namespace {

// In a child: the limit is the process's.
void in_a_limited_child(int (*body)(int file)) {
  child process([body] {
    const fd file(::memfd_create("limited", MFD_CLOEXEC));
    const rlimit limit{4096, 4096};
    if (!file || ::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 100;
    return body(file.get());
  });
  const ending how = process.wait();
  CHECK_MESSAGE(how.status == 0, "status ", how.status, " signal ", how.signal);
}

bool signal_is_pending() {
  sigset_t pending;
  return ::sigpending(&pending) == 0 && ::sigismember(&pending, SIGXFSZ) == 1;
}

bool signal_is_blocked() {
  sigset_t blocked;
  return ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked) == 0 && ::sigismember(&blocked, SIGXFSZ) == 1;
}

int allocate_too_much(int file) {
  return within_file_size_limit([file] { return ::fallocate(file, 0, 0, 8192); });
}

volatile sig_atomic_t handled = 0;

}  // namespace

TEST_CASE("a file that would be too large for RLIMIT_FSIZE is an error, and no signal is left") {
  in_a_limited_child([](int file) {
    if (allocate_too_much(file) != -1 || errno != EFBIG) return 1;
    if (signal_is_pending() || signal_is_blocked()) return 2;
    // What fits is allocated as ever.
    return within_file_size_limit([file] { return ::fallocate(file, 0, 0, 4096); }) == 0 ? 0 : 3;
  });
}

TEST_CASE("a handler of the process for SIGXFSZ is not called, and stays") {
  in_a_limited_child([](int file) {
    ::signal(SIGXFSZ, [](int) { handled = handled + 1; });
    if (allocate_too_much(file) != -1 || handled != 0) return 1;
    ::raise(SIGXFSZ);
    return handled == 1 ? 0 : 2;
  });
}

TEST_CASE("a SIGXFSZ that was pending before the call is pending behind it") {
  in_a_limited_child([](int file) {
    sigset_t blocked;
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGXFSZ);
    if (::pthread_sigmask(SIG_BLOCK, &blocked, nullptr) != 0) return 1;
    if (allocate_too_much(file) != -1 || signal_is_pending() || !signal_is_blocked()) return 2;
    ::raise(SIGXFSZ);
    if (allocate_too_much(file) != -1 || !signal_is_pending()) return 3;
    return signal_is_blocked() ? 0 : 4;
  });
}

TEST_CASE("bytes that do not fit are an errno, and not a short write") {
  in_a_limited_child([](int file) {
    static const char bytes[5000] = {};
    if (write_whole(file, bytes, 4096) != 0) return 1;
    if (write_whole(file, bytes, sizeof bytes) != EFBIG) return 2;
    return signal_is_pending() ? 3 : 0;
  });
}

TEST_CASE("the error names the limit, and has its value") {
  in_a_limited_child([](int) {
    const quoit::error e = file_size_limit_reached("allocating x", 8192);
    if (e != errc::limit_reached || e.value() != 4096 || e.system_errno() != EFBIG) return 1;
    if (e.words().find("RLIMIT_FSIZE") == std::string_view::npos) return 2;
    // It was not this process's limit.
    const quoit::error other = file_size_limit_reached("allocating x", 1024);
    return other == errc::limit_reached && other.words().find("RLIMIT_FSIZE") == std::string_view::npos ? 0 : 3;
  });
}
