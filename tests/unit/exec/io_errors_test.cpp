// What each operation of io.hpp answers when it cannot be done: the same on io_uring and on epoll, and never a signal.
#include "quoit/io.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "quoit/executor.hpp"
#include "quoit/scope.hpp"
#include "quoit/sleep.hpp"
#include "quoit/timeout.hpp"
#include "support/child.hpp"
#include "support/skip.hpp"

using namespace std::chrono_literals;
using quoit::errc;
using quoit::io_engine;
using quoit::test::child;

namespace {

// 0 or more: what it answered. Below: -errno, or one of these.
constexpr int was_cancelled = -10'000;
constexpr int was_forked = -10'001;

template <class R>
int number_of(const quoit::result<R>& answer) {
  if (!answer) {
    if (answer.error() == errc::cancelled) return was_cancelled;
    if (answer.error() == errc::forked) return was_forked;
    return -answer.error().system_errno();
  }
  if constexpr (std::is_void_v<R>) {
    return 0;
  } else {
    return static_cast<int>(*answer);
  }
}

template <class Operation>
quoit::task<int> answer_of(Operation operation) {
  const auto answer = co_await operation;
  co_return number_of(answer);
}

template <class Operation>
int answer_on(io_engine engine, const Operation& operation) {
  auto executor = quoit::executor::create({.engine = engine}).value();
  return executor.run(answer_of(operation));
}

bool has_io_uring() { return quoit::executor::create({.engine = io_engine::io_uring}).has_value(); }

// Each engine that there is.
template <class Each>
void on_each_engine(Each each) {
  each(io_engine::epoll);
  if (has_io_uring()) each(io_engine::io_uring);
}

// Made by `make` for each engine anew, as an operation may change it.
#define QUOIT_CHECK_ANSWER(expected, make)                        \
  on_each_engine([&](io_engine engine) {                          \
    CAPTURE(static_cast<int>(engine));                            \
    CHECK(answer_on(engine, [&] { return make; }()) == expected); \
  })

struct sockets {
  explicit sockets(int type = SOCK_STREAM) { REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0); }
  ~sockets() {
    for (const int end : ends) ::close(end);
  }
  int ends[2];
};

struct pipe_pair {
  explicit pipe_pair(int flags = 0) { REQUIRE(::pipe2(ends, O_CLOEXEC | flags) == 0); }
  ~pipe_pair() {
    for (const int end : ends) {
      if (end >= 0) ::close(end);
    }
  }
  void close_reader() { ::close(std::exchange(ends[0], -1)); }
  int ends[2];
};

struct file {
  explicit file(int flags = O_RDWR) {
    path = "/tmp/quoit-io-errors-" + std::to_string(::getpid());
    const int made = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(::write(made, "0123456789", 10) == 10);
    ::close(made);
    fd = ::open(path.c_str(), flags | O_CLOEXEC);
  }
  ~file() {
    ::close(fd);
    ::unlink(path.c_str());
  }
  std::string path;
  int fd;
};

struct plain {
  explicit plain(const char* path, int flags) : fd(::open(path, flags | O_CLOEXEC)) {}
  ~plain() { ::close(fd); }
  int fd;
};

struct socket_of {
  explicit socket_of(int family, int type) : fd(::socket(family, type | SOCK_CLOEXEC, 0)) {}
  ~socket_of() { ::close(fd); }
  int fd;
};

std::array<std::byte, 16> buffer;
const std::span<std::byte> bytes(buffer);
std::byte* const nowhere = reinterpret_cast<std::byte*>(std::uintptr_t{16});

}  // namespace

TEST_CASE("a descriptor that is none is EBADF for every operation") {
  constexpr int none = 1'000'000;
  QUOIT_CHECK_ANSWER(-EBADF, quoit::read(none, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::write(none, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::recv(none, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::send(none, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::accept(none));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::connect(none, nullptr, 0));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::poll(none, POLLIN));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::fsync(none));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::fdatasync(none));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::close(none));
}

TEST_CASE("reading and writing what is not open for that, or is no such thing") {
  const file to_write(O_WRONLY);
  QUOIT_CHECK_ANSWER(-EBADF, quoit::read(to_write.fd, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::read(to_write.fd, bytes, 0));
  const plain to_read("/etc/passwd", O_RDONLY);
  QUOIT_CHECK_ANSWER(-EBADF, quoit::write(to_read.fd, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::write(to_read.fd, bytes, 0));
  const plain directory("/tmp", O_RDONLY | O_DIRECTORY);
  QUOIT_CHECK_ANSWER(-EISDIR, quoit::read(directory.fd, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::write(directory.fd, bytes));
  const plain path_only("/tmp", O_PATH);
  QUOIT_CHECK_ANSWER(-EBADF, quoit::read(path_only.fd, bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::write(path_only.fd, bytes));
  const plain full("/dev/full", O_RDWR);
  QUOIT_CHECK_ANSWER(-ENOSPC, quoit::write(full.fd, bytes));
  const pipe_pair pipe;
  QUOIT_CHECK_ANSWER(-EBADF, quoit::write(pipe.ends[0], bytes));
  QUOIT_CHECK_ANSWER(-EBADF, quoit::read(pipe.ends[1], bytes));
}

TEST_CASE("an offset means nothing for pipes, and is refused by sockets") {
  const pipe_pair pipe;
  const sockets pair;
  QUOIT_CHECK_ANSWER(16, quoit::write(pipe.ends[1], bytes, 5));
  QUOIT_CHECK_ANSWER(16, quoit::read(pipe.ends[0], bytes, 7));
  QUOIT_CHECK_ANSWER(16, quoit::write(pair.ends[1], bytes, 0));
  QUOIT_CHECK_ANSWER(16, quoit::read(pair.ends[0], bytes, 0));
  QUOIT_CHECK_ANSWER(-ESPIPE, quoit::write(pair.ends[1], bytes, 5));
  QUOIT_CHECK_ANSWER(-ESPIPE, quoit::read(pair.ends[0], bytes, 7));
}

TEST_CASE("memory that is not there is EFAULT") {
  const file f;
  QUOIT_CHECK_ANSWER(-EFAULT, quoit::read(f.fd, std::span(nowhere, 4), 0));
  QUOIT_CHECK_ANSWER(-EFAULT, quoit::write(f.fd, std::span(nowhere, 4), 0));
  const sockets pair;
  REQUIRE(::send(pair.ends[1], "x", 1, 0) == 1);
  QUOIT_CHECK_ANSWER(-EFAULT, quoit::recv(pair.ends[0], std::span(nowhere, 4)));
  QUOIT_CHECK_ANSWER(-EFAULT, quoit::send(pair.ends[0], std::span(nowhere, 4)));
}

TEST_CASE("what is no socket is ENOTSOCK, and what a socket cannot do is what its call says") {
  const file f;
  QUOIT_CHECK_ANSWER(-ENOTSOCK, quoit::recv(f.fd, bytes));
  QUOIT_CHECK_ANSWER(-ENOTSOCK, quoit::send(f.fd, bytes));
  QUOIT_CHECK_ANSWER(-ENOTSOCK, quoit::accept(f.fd));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  QUOIT_CHECK_ANSWER(-ENOTSOCK, quoit::connect(f.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address));
  const socket_of stream(AF_INET, SOCK_STREAM);
  QUOIT_CHECK_ANSWER(-ENOTCONN, quoit::recv(stream.fd, bytes));
  QUOIT_CHECK_ANSWER(-EPIPE, quoit::send(stream.fd, bytes));
  QUOIT_CHECK_ANSWER(-EINVAL, quoit::accept(stream.fd));
  const socket_of datagram(AF_INET, SOCK_DGRAM);
  QUOIT_CHECK_ANSWER(-EOPNOTSUPP, quoit::accept(datagram.fd));
  QUOIT_CHECK_ANSWER(-EDESTADDRREQ, quoit::send(datagram.fd, bytes));
  const sockets packets(SOCK_SEQPACKET);
  const std::vector<std::byte> large(8 << 20);
  QUOIT_CHECK_ANSWER(-EMSGSIZE, quoit::send(packets.ends[0], large));
  QUOIT_CHECK_ANSWER(-EMSGSIZE, quoit::write(packets.ends[0], large));
  // Asked not to wait, it does not.
  QUOIT_CHECK_ANSWER(-EAGAIN, quoit::recv(packets.ends[0], bytes, MSG_DONTWAIT));
}

TEST_CASE("a connection that cannot be made says why") {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/tmp/quoit-no-such-socket-" + std::to_string(::getpid());
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto* const to = reinterpret_cast<const sockaddr*>(&address);
  const socket_of socket(AF_UNIX, SOCK_STREAM);
  QUOIT_CHECK_ANSWER(-ENOENT, quoit::connect(socket.fd, to, sizeof address));
  // Bound by somebody who is gone.
  {
    const socket_of gone(AF_UNIX, SOCK_STREAM);
    REQUIRE(::bind(gone.fd, to, sizeof address) == 0);
  }
  QUOIT_CHECK_ANSWER(-ECONNREFUSED, quoit::connect(socket.fd, to, sizeof address));
  ::unlink(path.c_str());
  QUOIT_CHECK_ANSWER(-EINVAL, quoit::connect(socket.fd, to, 1));
  on_each_engine([](io_engine engine) {
    const socket_of internet(AF_INET, SOCK_STREAM);
    sockaddr_in nobody{};
    nobody.sin_family = AF_INET;
    nobody.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    nobody.sin_port = htons(1);
    CHECK(answer_on(engine, quoit::connect(internet.fd, reinterpret_cast<const sockaddr*>(&nobody), sizeof nobody)) ==
          -ECONNREFUSED);
  });
}

TEST_CASE("a file that cannot be opened says why, and what cannot be written back too") {
  const std::string path = "/tmp/quoit-io-errors-none-" + std::to_string(::getpid());
  QUOIT_CHECK_ANSWER(-ENOENT, quoit::open(path.c_str(), O_RDONLY));
  QUOIT_CHECK_ANSWER(-ENOENT, quoit::open("", O_RDONLY));
  QUOIT_CHECK_ANSWER(-ENOTDIR, quoit::open("/dev/null/x", O_RDONLY));
  QUOIT_CHECK_ANSWER(-ENOTDIR, quoit::open("/dev/null", O_RDONLY | O_DIRECTORY));
  QUOIT_CHECK_ANSWER(-EISDIR, quoit::open("/tmp", O_WRONLY));
  QUOIT_CHECK_ANSWER(-EEXIST, quoit::open("/tmp", O_RDWR | O_CREAT | O_EXCL, 0600));
  const std::string long_name = "/tmp/" + std::string(300, 'x');
  QUOIT_CHECK_ANSWER(-ENAMETOOLONG, quoit::open(long_name.c_str(), O_RDONLY));
  const sockets pair;
  QUOIT_CHECK_ANSWER(-EINVAL, quoit::fsync(pair.ends[0]));
  QUOIT_CHECK_ANSWER(-EINVAL, quoit::fdatasync(pair.ends[0]));
}

TEST_CASE("the end is 0, and what has no bytes is no error") {
  const file f;
  QUOIT_CHECK_ANSWER(0, quoit::read(f.fd, bytes, 1000));
  QUOIT_CHECK_ANSWER(0, quoit::read(f.fd, {}, 0));
  QUOIT_CHECK_ANSWER(0, quoit::write(f.fd, {}, 0));
  on_each_engine([](io_engine engine) {
    pipe_pair pipe;
    ::close(std::exchange(pipe.ends[1], -1));
    CHECK(answer_on(engine, quoit::read(pipe.ends[0], bytes)) == 0);
    const sockets pair;
    ::shutdown(pair.ends[1], SHUT_WR);
    CHECK(answer_on(engine, quoit::recv(pair.ends[0], bytes)) == 0);
    CHECK(answer_on(engine, quoit::read(pair.ends[0], bytes)) == 0);
  });
}

TEST_CASE("a peer that is gone is EPIPE, of sockets and pipes, and no signal") {
  on_each_engine([](io_engine engine) {
    CAPTURE(static_cast<int>(engine));
    child writer([engine] {
      // As a program has it that has not asked for anything else.
      std::signal(SIGPIPE, SIG_DFL);
      for (const int flags : {0, O_NONBLOCK}) {
        pipe_pair pipe(flags);
        pipe.close_reader();
        if (answer_on(engine, quoit::write(pipe.ends[1], bytes)) != -EPIPE) return 1;
      }
      for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
        const sockets pair(type);
        ::shutdown(pair.ends[0], SHUT_WR);
        if (answer_on(engine, quoit::write(pair.ends[0], bytes)) != -EPIPE) return 2;
        if (answer_on(engine, quoit::send(pair.ends[0], bytes)) != -EPIPE) return 3;
      }
      // Nothing is left that would come later.
      sigset_t pending;
      if (::sigpending(&pending) != 0 || ::sigismember(&pending, SIGPIPE) != 0) return 4;
      return 0;
    });
    const auto how = writer.wait();
    CHECK(how.signal == 0);
    CHECK(how.status == 0);
  });
}

TEST_CASE("a reader that goes while a write waits for it is EPIPE, and no signal") {
  on_each_engine([](io_engine engine) {
    CAPTURE(static_cast<int>(engine));
    child writer([engine] {
      std::signal(SIGPIPE, SIG_DFL);
      auto executor = quoit::executor::create({.engine = engine}).value();
      auto write_to = [](int to, int& answer) -> quoit::task<> {
        const auto written = co_await quoit::write(to, bytes);
        answer = number_of(written);
      };
      auto all = [&write_to](int(&ends)[2]) -> quoit::task<int> {
        const std::vector<char> much(1 << 16);
        ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
        while (::write(ends[1], much.data(), much.size()) > 0) {
        }
        ::fcntl(ends[1], F_SETFL, 0);
        int answer = 1;
        quoit::scope s;
        s.spawn(write_to(ends[1], answer));
        co_await quoit::sleep_for(2ms);
        if (s.running() != 1) co_return 2;
        ::close(std::exchange(ends[0], -1));
        co_await s.join();
        co_return answer;
      };
      for (const bool sockets_too : {false, true}) {
        if (sockets_too) {
          sockets pair;
          if (executor.run(all(pair.ends)) != -EPIPE) return 2;
        } else {
          pipe_pair pipe;
          if (executor.run(all(pipe.ends)) != -EPIPE) return 1;
        }
      }
      return 0;
    });
    const auto how = writer.wait();
    CHECK(how.signal == 0);
    CHECK(how.status == 0);
  });
}

TEST_CASE("a SIGPIPE that somebody else has raised stays, and so does what the program does with it") {
  on_each_engine([](io_engine engine) {
    CAPTURE(static_cast<int>(engine));
    child writer([engine] {
      static volatile sig_atomic_t handled = 0;
      std::signal(SIGPIPE, [](int) { handled = handled + 1; });
      sigset_t pipe_signal, before;
      ::sigemptyset(&pipe_signal);
      ::sigaddset(&pipe_signal, SIGPIPE);
      ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
      ::raise(SIGPIPE);
      pipe_pair pipe;
      pipe.close_reader();
      if (answer_on(engine, quoit::write(pipe.ends[1], bytes)) != -EPIPE || handled != 0) return 1;
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (handled != 1) return 2;
      // The program's own write raises it as ever.
      if (::write(pipe.ends[1], "x", 1) != -1 || handled != 2) return 3;
      return 0;
    });
    const auto how = writer.wait();
    CHECK(how.signal == 0);
    CHECK(how.status == 0);
  });
}

TEST_CASE("a file that may not become larger is EFBIG, and no signal") {
  on_each_engine([](io_engine engine) {
    CAPTURE(static_cast<int>(engine));
    child writer([engine] {
      std::signal(SIGXFSZ, SIG_DFL);
      const file f;
      const rlimit limit{4096, RLIM_INFINITY};
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
      if (answer_on(engine, quoit::write(f.fd, bytes, 4096)) != -EFBIG) return 2;
      if (answer_on(engine, quoit::write(f.fd, bytes, 4096 - 16)) != 16) return 3;
      // Pipes and sockets know no such limit.
      const pipe_pair pipe;
      const sockets pair;
      if (answer_on(engine, quoit::write(pipe.ends[1], bytes)) != 16) return 4;
      if (answer_on(engine, quoit::write(pair.ends[0], bytes)) != 16) return 5;
      return 0;
    });
    const auto how = writer.wait();
    CHECK(how.signal == 0);
    CHECK(how.status == 0);
  });
}

namespace {

// No descriptor is to be had any more. How many were taken.
void use_up_descriptors() {
  const rlimit limit{64, 64};
  ::setrlimit(RLIMIT_NOFILE, &limit);
  while (::eventfd(0, EFD_CLOEXEC) >= 0) {
  }
}

quoit::task<> keep(quoit::detail::io_operation<std::size_t> operation, int& out) {
  const auto answer = co_await operation;
  out = number_of(answer);
}

// Each operation that takes no descriptor works, also where it has to wait; each that does says EMFILE.
quoit::task<int> work_without_descriptors(const file& f, const sockets& pair, const pipe_pair& pipe, int listening) {
  use_up_descriptors();
  std::array<std::byte, 4> a{}, b{};
  int received = 1000, read = 1000, written = 1000;
  const std::vector<std::byte> much(1 << 20);
  while (::send(pair.ends[1], much.data(), much.size(), MSG_DONTWAIT) > 0) {
  }
  quoit::scope s;
  s.spawn(keep(quoit::read(pipe.ends[0], a), read));
  s.spawn(keep(quoit::recv(pair.ends[1], b), received));
  s.spawn(keep(quoit::write(pair.ends[1], std::span(much).first(1)), written));
  co_await quoit::sleep_for(5ms);
  if (s.running() != 3) co_return 1;
  // One of them goes on with each of these.
  if ((co_await quoit::write(pipe.ends[1], std::span(much).first(4))).value_or(0) != 4) co_return 2;
  if ((co_await quoit::send(pair.ends[0], std::span(much).first(3))).value_or(0) != 3) co_return 3;
  std::vector<std::byte> drained(1 << 20);
  while (::recv(pair.ends[0], drained.data(), drained.size(), MSG_DONTWAIT) > 0) {
  }
  co_await s.join();
  if (read != 4 || received != 3 || written != 1) co_return 4;
  const auto polled = co_await quoit::poll(pipe.ends[1], POLLOUT);
  if (!polled || *polled != POLLOUT) co_return 5;
  const auto from_file = co_await quoit::read(f.fd, a, 2);
  if (!from_file || *from_file != 4 || a[0] != std::byte{'2'}) co_return 6;
  const auto to_file = co_await quoit::write(f.fd, a, 6);
  const auto synced = co_await quoit::fsync(f.fd);
  const auto data_synced = co_await quoit::fdatasync(f.fd);
  if (!to_file || !synced || !data_synced) co_return 7;
  // A stop reaches what waits.
  quoit::scope stopped;
  stopped.spawn(keep(quoit::read(pipe.ends[0], a), read));
  co_await quoit::sleep_for(2ms);
  stopped.request_stop();
  co_await stopped.join();
  if (read != was_cancelled) co_return 8;
  const auto opened = co_await quoit::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const auto accepted = co_await quoit::accept(listening);
  if (number_of(opened) != -EMFILE || number_of(accepted) != -EMFILE) co_return 9;
  const auto late = co_await quoit::timeout(2ms, quoit::recv(pair.ends[1], b));
  co_return !late && late.error() == errc::timed_out ? 0 : 10;
}

}  // namespace

TEST_CASE("without a descriptor to spare, operations on those that are open go on") {
  on_each_engine([](io_engine engine) {
    CAPTURE(static_cast<int>(engine));
    child process([engine] {
      const file f;
      const sockets pair;
      const pipe_pair pipe;
      const socket_of listening(AF_INET, SOCK_STREAM), client(AF_INET, SOCK_STREAM);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t length = sizeof address;
      if (::bind(listening.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
          ::listen(listening.fd, 1) != 0 ||
          ::getsockname(listening.fd, reinterpret_cast<sockaddr*>(&address), &length) != 0 ||
          ::connect(client.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return 20;
      }
      auto executor = quoit::executor::create({.engine = engine}).value();
      return executor.run(work_without_descriptors(f, pair, pipe, listening.fd));
    });
    CHECK(process.wait().status == 0);
  });
}

TEST_CASE("an operation that waits without a descriptor to spare does not go on with another file of that number") {
  child process([] {
    auto executor = quoit::executor::create({.engine = io_engine::epoll}).value();
    auto all = []() -> quoit::task<int> {
      pipe_pair first, second;
      use_up_descriptors();
      std::array<std::byte, 4> into{};
      int answer = 1000;
      auto read_from = [](int from, std::span<std::byte> to, int& out) -> quoit::task<> {
        const auto got = co_await quoit::read(from, to);
        out = number_of(got);
      };
      quoit::scope s;
      s.spawn(read_from(first.ends[0], into, answer));
      co_await quoit::sleep_for(2ms);
      if (::dup2(second.ends[0], first.ends[0]) != first.ends[0]) co_return 1;
      if (::write(second.ends[1], "x", 1) != 1) co_return 2;
      co_await s.join();
      char c = 0;
      if (answer != -EBADF || ::read(second.ends[0], &c, 1) != 1 || c != 'x') co_return 3;
      co_return 0;
    };
    return executor.run(all());
  });
  CHECK(process.wait().status == 0);
}

TEST_CASE("signals that are handled meanwhile end no operation") {
  on_each_engine([](io_engine engine) {
    CAPTURE(static_cast<int>(engine));
    child process([engine] {
      static volatile sig_atomic_t ticks = 0;
      struct sigaction handler{};
      handler.sa_handler = [](int) { ticks = ticks + 1; };
      ::sigaction(SIGALRM, &handler, nullptr);
      const itimerval often{{0, 500}, {0, 500}};
      ::setitimer(ITIMER_REAL, &often, nullptr);
      auto executor = quoit::executor::create({.wait = quoit::wait::block, .engine = engine}).value();
      auto all = []() -> quoit::task<int> {
        const pipe_pair pipe;
        const sockets pair;
        const file f;
        std::array<std::byte, 4> a{}, b{};
        for (int i = 0; i < 20; ++i) {
          int read = 1000, received = 1000;
          quoit::scope s;
          s.spawn(keep(quoit::read(pipe.ends[0], a), read));
          s.spawn(keep(quoit::recv(pair.ends[0], b), received));
          const int before = ticks;
          while (ticks < before + 3) co_await quoit::sleep_for(100us);
          if (s.running() != 2) co_return 1;
          if (::write(pipe.ends[1], "x", 1) != 1 || ::write(pair.ends[1], "x", 1) != 1) co_return 2;
          co_await s.join();
          if (read != 1 || received != 1) {
            std::fprintf(stderr, "read %d, received %d\n", read, received);
            co_return 3;
          }
          const auto written = co_await quoit::write(f.fd, a, 0);
          const auto synced = co_await quoit::fsync(f.fd);
          const auto opened = co_await quoit::open("/dev/null", O_RDONLY | O_CLOEXEC);
          if (!written || !synced || !opened) co_return 4;
          ::close(*opened);
        }
        co_return 0;
      };
      return executor.run(all());
    });
    CHECK(process.wait().status == 0);
  });
}
