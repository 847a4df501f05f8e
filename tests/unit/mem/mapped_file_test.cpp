#include <quoit/mapped_file.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pty.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/fd.hpp"
#include "support/child.hpp"
#include "support/skip.hpp"

using quoit::errc;
using quoit::mapped_file;
using quoit::detail::fd;
using quoit::test::child;
using to = quoit::mapped_file::access;

namespace {

// A folder of its own, removed at the end with what is in it.
class folder {
 public:
  folder() {
    char name[] = "/tmp/quoit-test-XXXXXX";
    if (::mkdtemp(name) == nullptr) FAIL("no folder");
    path_ = name;
  }
  folder(const folder&) = delete;
  folder& operator=(const folder&) = delete;
  ~folder() {
    for (const char* name : {"file", "pipe", "socket", "link"}) ::unlink((*this / name).c_str());
    ::rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A file in it, of bytes that are all 'x'.
struct file {
  explicit file(std::size_t bytes) : path(in / "file"), descriptor(::open(path.c_str(), O_RDWR | O_CREAT, 0600)) {
    const std::string content(bytes, 'x');
    REQUIRE(::write(descriptor.get(), content.data(), bytes) == static_cast<ssize_t>(bytes));
  }
  void cut(off_t bytes) const { REQUIRE(::ftruncate(descriptor.get(), bytes) == 0); }
  std::string text(off_t offset, std::size_t bytes) const {
    std::string content(bytes, '\0');
    content.resize(static_cast<std::size_t>(::pread(descriptor.get(), content.data(), bytes, offset)));
    return content;
  }
  off_t size() const {
    struct stat status{};
    REQUIRE(::fstat(descriptor.get(), &status) == 0);
    return status.st_size;
  }

  folder in;
  std::string path;
  fd descriptor;
};

mapped_file must_open(const std::string& path, to how) {
  auto mapped = mapped_file::open(path, how);
  if (!mapped) FAIL(mapped.error().message());
  return std::move(*mapped);
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

// That it cannot be mapped, and that the words hold these.
template <class What>
void check_refused(const What& what, std::initializer_list<const char*> words) {
  for (const to how : {to::read, to::read_write}) {
    const auto mapped = mapped_file::open(what, how);
    REQUIRE_FALSE(mapped);
    const std::string message = mapped.error().message();
    INFO(message);
    CHECK(mapped.error().code() == errc::invalid_argument);
    for (const char* const word : words) CHECK(message.find(word) != std::string::npos);
  }
}

// What is asked of a result that should be an error: a success answers no code, and no number of bytes.
template <class T>
errc code_of(const quoit::result<T>& r) {
  return r ? errc{} : r.error().code();
}
std::int64_t truncated_after(const quoit::result<void>& r) {
  return code_of(r) == errc::truncated ? static_cast<std::int64_t>(r.error().value()) : -1;
}

// From here on a system call of this process is answered with an errno, as a container's filter does it.
bool forbid(unsigned call, unsigned answer) {
  std::array<sock_filter, 4> program{{
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},  // the number of the call
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, call},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | answer},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace

TEST_CASE("a terminal cannot be mapped, and the words say so") {
  int master = -1, slave = -1;
  char name[128];
  if (::openpty(&master, &slave, name, nullptr, nullptr) != 0) QUOIT_SKIP("no pseudo terminals here");
  const fd a(master), b(slave);
  check_refused(slave, {"a terminal", "in order", "read()"});
  check_refused(std::string(name), {name, "a terminal", "read()"});
}

TEST_CASE("a pipe cannot be mapped, and opening one that has a name does not wait for its other end") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const fd a(ends[0]), b(ends[1]);
  check_refused(ends[0], {"a pipe", "in order", "read()"});
  const folder in;
  REQUIRE(::mkfifo((in / "pipe").c_str(), 0600) == 0);
  check_refused(in / "pipe", {"/pipe", "a pipe", "read()"});
}

TEST_CASE("a socket cannot be mapped, by descriptor or by its path") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const fd a(ends[0]), b(ends[1]);
  check_refused(ends[0], {"a socket", "recv()"});
  const folder in;
  const fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (in / "socket").c_str(), sizeof address.sun_path - 1);
  REQUIRE(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  check_refused(in / "socket", {"/socket", "a socket", "connect"});
}

TEST_CASE("a directory cannot be mapped") {
  const folder in;
  check_refused(in.path(), {"a directory", "a file in it"});
  const fd directory(::open(in.path().c_str(), O_RDONLY | O_DIRECTORY));
  check_refused(directory.get(), {"a directory"});
}

TEST_CASE("a device is not even opened") {
  check_refused(std::string("/dev/zero"), {"a character device", "driver"});
  const fd device(::open("/dev/null", O_RDWR));
  check_refused(device.get(), {"a character device"});
}

TEST_CASE("an empty file cannot be mapped, nor one of /proc that says it is") {
  const file empty(0);
  check_refused(empty.path, {"an empty file", "ftruncate"});
  const auto status = mapped_file::open("/proc/self/status", to::read);
  REQUIRE_FALSE(status);
  CHECK(status.error().message().find("/proc") != std::string::npos);
}

TEST_CASE("a file of a file system that maps none is refused with its errno") {
  const char* const path = "/sys/kernel/mm/transparent_hugepage/enabled";
  if (::access(path, R_OK) != 0) QUOIT_SKIP("no such file in /sys here");
  const auto mapped = mapped_file::open(path, to::read);
  REQUIRE_FALSE(mapped);
  CHECK(mapped.error().code() == errc::invalid_argument);
  CHECK(mapped.error().system_errno() == ENODEV);
}

TEST_CASE("a path that leads nowhere is not found, and a closed descriptor is none") {
  const folder in;
  CHECK(code_of(mapped_file::open(in / "file", to::read)) == errc::not_found);
  const auto mapped = mapped_file::open(-1, to::read);
  REQUIRE_FALSE(mapped);
  CHECK(mapped.error().system_errno() == EBADF);
}

TEST_CASE("a descriptor must have been opened for what the mapping does") {
  const file f(10);
  const fd reads(::open(f.path.c_str(), O_RDONLY));
  const fd writes(::open(f.path.c_str(), O_WRONLY));
  const fd neither(::open(f.path.c_str(), O_PATH));
  CHECK(mapped_file::open(reads.get(), to::read));
  CHECK(code_of(mapped_file::open(reads.get(), to::read_write)) == errc::no_permission);
  CHECK(code_of(mapped_file::open(writes.get(), to::read)) == errc::no_permission);
  CHECK(code_of(mapped_file::open(neither.get(), to::read)) == errc::no_permission);
}

TEST_CASE("too many open files are an error of their own") {
  const file f(10);
  child limited([&] {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_NOFILE, &none);
    const auto mapped = mapped_file::open(f.path, to::read);
    return !mapped && mapped.error().code() == errc::limit_reached ? 0 : 1;
  });
  CHECK(limited.wait().status == 0);
}

TEST_CASE("the bytes of a file lie in memory, and what is stored there is in the file at once") {
  const file f(10'000);
  auto mapped = must_open(f.path, to::read_write);
  CHECK(mapped.size() == 10'000);
  CHECK(std::all_of(mapped.data().begin(), mapped.data().end(), [](std::byte b) { return b == std::byte{'x'}; }));
  std::memcpy(mapped.writable().data() + 9'995, "hello", 5);
  CHECK(f.text(9'990, 100) == "xxxxxhello");
  CHECK(f.size() == 10'000);
}

TEST_CASE("what write(2) puts into a file is in its mappings at once") {
  const file f(10'000);
  const auto mapped = must_open(f.path, to::read);
  REQUIRE(::pwrite(f.descriptor.get(), "hello", 5, 5'000) == 5);
  CHECK(std::memcmp(mapped.data().data() + 5'000, "hello", 5) == 0);
}

TEST_CASE("a mapping to read has nothing to write") {
  const file f(10);
  auto mapped = must_open(f.path, to::read);
  CHECK(mapped.data().size() == 10);
  CHECK(mapped.writable().empty());
  CHECK(code_of(mapped.copy_in(0, bytes_of("y"))) == errc::no_permission);
}

TEST_CASE("the descriptor stays the caller's, and the mapping needs neither it nor the name") {
  const file f(10);
  fd own(::open(f.path.c_str(), O_RDWR));
  auto mapped = std::move(mapped_file::open(own.get(), to::read_write).value());
  own.reset();
  REQUIRE(::unlink(f.path.c_str()) == 0);
  mapped.writable()[0] = std::byte{'y'};
  CHECK(mapped.size_now() == 10u);
  CHECK(f.text(0, 2) == "yx");
}

TEST_CASE("a mapping moves without its bytes moving") {
  const file f(10);
  auto first = must_open(f.path, to::read);
  const auto data = first.data();
  mapped_file second = std::move(first);
  CHECK(second.data().data() == data.data());
  CHECK(first.size() == 0);
  first = std::move(second);
  CHECK(first.data().data() == data.data());
  CHECK(first.size_now() == 10u);
}

TEST_CASE("what was written can be waited for, and advice changes nothing that is read") {
  const file f(10'000);
  auto mapped = must_open(f.path, to::read_write);
  for (const auto how : {mapped_file::advice::sequential, mapped_file::advice::random, mapped_file::advice::will_need,
                         mapped_file::advice::normal}) {
    CHECK(mapped.advise(how));
  }
  mapped.writable()[0] = std::byte{'y'};
  CHECK(mapped.sync());
  CHECK(must_open(f.path, to::read).sync());
  CHECK(f.text(0, 2) == "yx");
}

TEST_CASE("the size is that of the opening, and size_now() is that of now") {
  const file f(10'000);
  const auto mapped = must_open(f.path, to::read);
  f.cut(20'000);
  CHECK(mapped.size() == 10'000);
  CHECK(mapped.size_now() == 20'000u);
  f.cut(3);
  CHECK(mapped.size() == 10'000);
  CHECK(mapped.size_now() == 3u);
}

TEST_CASE("copies go in and out, as far as the file is mapped") {
  const file f(10'000);
  auto mapped = must_open(f.path, to::read_write);
  CHECK(mapped.copy_in(4'094, bytes_of("hello")));  // over the edge of a page
  CHECK(f.text(4'093, 7) == "xhellox");
  std::string out(5, '\0');
  CHECK(mapped.copy_out(4'094, std::as_writable_bytes(std::span(out))));
  CHECK(out == "hello");
  CHECK(mapped.copy_out(10'000, {}));
  f.cut(20'000);
  for (const std::uint64_t offset : {std::uint64_t{9'996}, ~std::uint64_t{0}}) {
    const auto beyond = mapped.copy_out(offset, std::as_writable_bytes(std::span(out)));
    REQUIRE_FALSE(beyond);
    CHECK(beyond.error().code() == errc::invalid_argument);
    CHECK(beyond.error().value() == 10'000);
    CHECK(code_of(mapped.copy_in(offset, bytes_of(out))) == errc::invalid_argument);
  }
}

TEST_CASE("a copy out of a file that was cut stops at its last byte, and says how many there are") {
  const file f(100'000);
  const auto mapped = must_open(f.path, to::read);
  f.cut(10'001);  // not at the end of a page
  std::string out(50'000, '?');
  const auto whole = mapped.copy_out(0, std::as_writable_bytes(std::span(out)));
  CHECK(truncated_after(whole) == 10'001);
  CHECK(out.substr(0, 10'001) == std::string(10'001, 'x'));
  CHECK(truncated_after(mapped.copy_out(10'001, std::as_writable_bytes(std::span(out)))) == 0);
  CHECK(truncated_after(mapped.copy_out(90'000, std::as_writable_bytes(std::span(out).first(1)))) == 0);
  CHECK(mapped.copy_out(10'000, std::as_writable_bytes(std::span(out).first(1))));
}

TEST_CASE("a copy into a file that was cut stops at its last byte, and makes it no longer") {
  const file f(100'000);
  auto mapped = must_open(f.path, to::read_write);
  f.cut(10'001);
  const std::string in(50'000, 'y');
  const auto whole = mapped.copy_in(5'000, bytes_of(in));
  CHECK(truncated_after(whole) == 5'001);
  CHECK(f.size() == 10'001);
  const bool as_far_as_it_goes = f.text(4'999, 100'000) == "x" + std::string(5'001, 'y');
  CHECK(as_far_as_it_goes);
  // In the last page of the file, and behind its end.
  CHECK(truncated_after(mapped.copy_in(10'001, bytes_of("z"))) == 0);
  CHECK(code_of(mapped.copy_in(90'000, bytes_of("z"))) == errc::truncated);
  CHECK(f.size() == 10'001);
  CHECK(mapped.copy_in(10'000, bytes_of("z")));
}

TEST_CASE("a file that was cut and is long again is copied whole") {
  const file f(100'000);
  auto mapped = must_open(f.path, to::read_write);
  f.cut(1);
  f.cut(100'000);
  std::string out(100'000, '?');
  CHECK(mapped.copy_out(0, std::as_writable_bytes(std::span(out))));
  const bool zeros = out == "x" + std::string(99'999, '\0');
  CHECK(zeros);
  CHECK(mapped.copy_in(1, bytes_of(std::string(99'999, 'y'))));
  CHECK(f.text(99'999, 1) == "y");
}

TEST_CASE("where process_vm_writev is forbidden, copies go in all the same, and stop where the file does") {
  const file f(300'000);
  for (const unsigned answer : {EPERM, ENOSYS}) {
    f.cut(300'000);
    child confined([&] {
      auto mapped = mapped_file::open(f.path, to::read_write);
      if (!forbid(SYS_process_vm_writev, answer)) return 77;
      if (::syscall(SYS_process_vm_writev, ::getpid(), nullptr, 0, nullptr, 0, 0) == 0) return 1;
      const std::string in(250'000, 'y');  // more than a pipe takes
      if (!mapped->copy_in(40'000, bytes_of(in))) return 2;
      std::string out(250'000, '?');
      if (!mapped->copy_out(40'000, std::as_writable_bytes(std::span(out))) || out != in) return 3;
      if (::truncate(f.path.c_str(), 100'001) != 0) return 4;
      if (truncated_after(mapped->copy_in(40'000, bytes_of(in))) != 60'001) return 5;
      if (truncated_after(mapped->copy_in(200'000, bytes_of(in).first(1))) != 0) return 6;
      return mapped->size_now() == 100'001u ? 0 : 7;
    });
    const auto end = confined.wait();
    if (end.status == 77) QUOIT_SKIP("no filter of system calls can be set here");
    CHECK(end.status == 0);
  }
}

TEST_CASE("a file that is truncated under running copies costs them an answer, and never the process") {
  constexpr std::size_t file_bytes = 64 * 1024;
  const file f(file_bytes);
  auto mapped = must_open(f.path, to::read_write);
  child truncator([&] {
    // Itself through read and write: cuts anywhere, and puts back what was there.
    const int own = ::open(f.path.c_str(), O_RDWR | O_CLOEXEC);
    const std::string content(file_bytes, 'x');
    for (unsigned random = 1;; random = random * 1664525 + 1013904223) {
      const std::size_t cut = (random >> 8) % file_bytes;
      if (::ftruncate(own, static_cast<off_t>(cut)) != 0) return 1;
      const auto rest = static_cast<ssize_t>(file_bytes - cut);
      if (::pwrite(own, content.data() + cut, file_bytes - cut, static_cast<off_t>(cut)) != rest) {
        return 2;
      }
    }
  });
  const std::string in(file_bytes / 2, 'y');
  std::array<int, 4> seen{};  // reads truncated, reads whole, and the same of writes
  // Both kinds of answers must have been seen, of both copies; the watchdog ends a test in which they are not.
  const int rounds = quoit::test::fast() ? 2'000 : 20'000;
  for (int round = 0; round < rounds || std::ranges::count(seen, 0) > 0; ++round) {
    // Each byte of a whole answer was in the file: from the first writer, from us, or from its being cut and grown.
    std::string out(file_bytes / 2, '?');
    const std::uint64_t offset = static_cast<unsigned>(round) * 977u % (file_bytes / 2);
    const auto read = mapped.copy_out(offset, std::as_writable_bytes(std::span(out)));
    const std::size_t good = read ? out.size() : read.error().value();
    if (!read && read.error() != errc::truncated) FAIL(read.error().message());
    if (!read && good >= out.size()) FAIL("truncated, and whole");
    const auto known = [](char c) { return c == 'x' || c == 'y' || c == '\0'; };
    if (!std::all_of(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(good), known)) FAIL("bytes from elsewhere");
    const auto written = mapped.copy_in(offset, bytes_of(in));
    if (!written && written.error() != errc::truncated) FAIL(written.error().message());
    ++seen[read ? 1 : 0];
    ++seen[written ? 3 : 2];
  }
  CHECK(f.size() <= static_cast<off_t>(file_bytes));
}

TEST_CASE("threads copy at the same time, while one truncates") {
  constexpr std::size_t file_bytes = 64 * 1024;
  const file f(file_bytes);
  auto mapped = must_open(f.path, to::read_write);
  std::atomic<bool> wrong = false;
  std::atomic<int> running = 2;
  const auto copies = [&](bool out) {
    std::string buffer(file_bytes, 'x');
    for (int round = 0; round < 1'000; ++round) {
      const auto done = out ? mapped.copy_out(0, std::as_writable_bytes(std::span(buffer)))
                            : mapped.copy_in(0, std::as_bytes(std::span(buffer)));
      if (!done && done.error() != errc::truncated) wrong = true;
    }
    --running;
  };
  std::thread reader(copies, true), writer(copies, false);
  while (running > 0) {
    f.cut(5'000);
    f.cut(file_bytes);
  }
  reader.join();
  writer.join();
  CHECK_FALSE(wrong);
}

TEST_CASE("the limit of a mapping: a plain access behind the end of a truncated file is a SIGBUS") {
  const file f(100'000);
  child reader([&] {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    std::signal(SIGBUS, SIG_DFL);  // doctest and the sanitizers have handlers that say more
    const auto mapped = mapped_file::open(f.path, to::read);
    if (::truncate(f.path.c_str(), 10'000) != 0) return 1;
    const volatile std::byte* const bytes = mapped->data().data();
    if (bytes[12'287] != std::byte{0}) return 2;  // the rest of the last page is there, and is zero
    static_cast<void>(bytes[12'288]);
    return 3;
  });
  const auto end = reader.wait();
  CHECK(end.status == -1);
  CHECK(end.signal == SIGBUS);
}
