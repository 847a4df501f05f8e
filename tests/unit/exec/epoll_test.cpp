// What io_uring does by itself and the engine on epoll has to see to.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "quoit/executor.hpp"
#include "quoit/io.hpp"
#include "quoit/scope.hpp"
#include "quoit/signals.hpp"
#include "quoit/sleep.hpp"
#include "quoit/timeout.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

constexpr quoit::executor_options on_epoll{.engine = quoit::io_engine::epoll};

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

struct pair {
  explicit pair(int type = SOCK_STREAM) { REQUIRE(::socketpair(AF_UNIX, type, 0, ends) == 0); }
  ~pair() {
    for (const int end : ends) ::close(end);
  }
  int ends[2];
};

struct pipe_ends {
  pipe_ends() { REQUIRE(::pipe2(ends, O_CLOEXEC) == 0); }
  ~pipe_ends() {
    for (const int end : ends) ::close(end);
  }
  int ends[2];
};

struct fifo {
  fifo() : path("/tmp/quoit-epoll-test-" + std::to_string(::getpid())) {
    ::unlink(path.c_str());
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  }
  ~fifo() { ::unlink(path.c_str()); }
  std::string path;
};

// How many descriptors of this process are open at this path.
int open_at(const std::string& path) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) == path) ++count;
  }
  return count;
}

template <class Operation, class R>
quoit::task<> keep(Operation operation, quoit::result<R>& out) {
  out = co_await std::move(operation);
}

}  // namespace

TEST_CASE("on epoll, two operations wait for one descriptor, each for its own direction") {
  auto all = []() -> quoit::task<> {
    const pair p;
    std::vector<std::byte> full(1 << 16);
    while (::send(p.ends[0], full.data(), full.size(), MSG_DONTWAIT) > 0) {
    }
    quoit::scope s;
    std::array<std::byte, 8> buffer{};
    quoit::result<std::size_t> received{}, sent{};
    s.spawn(keep(quoit::recv(p.ends[0], buffer), received));
    s.spawn(keep(quoit::send(p.ends[0], std::span<const std::byte>(full)), sent));
    CHECK(co_await quoit::sleep_for(2ms));
    CHECK(s.running() == 2);
    REQUIRE(::send(p.ends[1], "x", 1, 0) == 1);
    while (s.running() == 2) CHECK(co_await quoit::sleep_for(1ms));
    CHECK(received.value() == 1);
    while (::recv(p.ends[1], full.data(), full.size(), MSG_DONTWAIT) > 0) {
    }
    co_await s.join();
    CHECK(sent.value() > 0);
  };
  quoit::sync_wait(all(), on_epoll);
}

TEST_CASE("on epoll, a descriptor that is closed under an operation goes on until that is over") {
  auto all = []() -> quoit::task<> {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    quoit::scope s;
    std::array<std::byte, 8> buffer{};
    quoit::result<std::size_t> received{};
    s.spawn(keep(quoit::recv(ends[0], buffer), received));
    CHECK(co_await quoit::sleep_for(2ms));
    ::close(ends[0]);
    REQUIRE(::send(ends[1], "still", 5, 0) == 5);
    co_await s.join();
    CHECK(received.value() == 5);
    ::close(ends[1]);
  };
  quoit::sync_wait(all(), on_epoll);
}

TEST_CASE("on epoll, a receive of all bytes waits for all of them") {
  auto all = []() -> quoit::task<> {
    const pair p;
    quoit::scope s;
    std::array<std::byte, 10> buffer{};
    quoit::result<std::size_t> received{};
    s.spawn(keep(quoit::recv(p.ends[0], buffer, MSG_WAITALL), received));
    for (const char* part : {"abc", "defg", "hij"}) {
      CHECK(co_await quoit::sleep_for(1ms));
      CHECK(s.running() == 1);
      REQUIRE(::send(p.ends[1], part, std::string(part).size(), 0) > 0);
    }
    co_await s.join();
    CHECK(received.value() == 10);
    CHECK(std::string(reinterpret_cast<const char*>(buffer.data()), buffer.size()) == "abcdefghij");
  };
  quoit::sync_wait(all(), on_epoll);
}

TEST_CASE("on epoll, a pipe takes what fits and the loop goes on meanwhile") {
  auto all = []() -> quoit::task<> {
    const pipe_ends p;
    constexpr std::size_t total = 1 << 20;
    auto writes = [](int to) -> quoit::task<> {
      const std::vector<std::byte> bytes(total, std::byte{7});
      for (std::size_t at = 0; at < total;) {
        const auto n = co_await quoit::write(to, std::span(bytes).subspan(at));
        REQUIRE(n.has_value());
        at += *n;
      }
    };
    auto reads = [](int from) -> quoit::task<std::size_t> {
      std::vector<std::byte> bytes(10'000);
      std::size_t sum = 0;
      while (sum < total) {
        const auto n = co_await quoit::read(from, bytes);
        REQUIRE(n.has_value());
        sum += *n;
      }
      co_return sum;
    };
    quoit::scope s;
    s.spawn(writes(p.ends[1]));
    CHECK(co_await reads(p.ends[0]) == total);
    co_await s.join();
  };
  quoit::sync_wait(all(), on_epoll);
}

TEST_CASE("on epoll, files are read and written in order by whoever keeps their position") {
  auto all = []() -> quoit::task<> {
    const std::string path = "/tmp/quoit-epoll-file-" + std::to_string(::getpid());
    const int fd = (co_await quoit::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)).value();
    ::unlink(path.c_str());
    std::string words(100'000, 'a');
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = static_cast<char>('a' + i % 26);
    for (int i = 0; i < 10; ++i) {
      const auto part = std::string_view(words).substr(static_cast<std::size_t>(i) * 10'000, 10'000);
      CHECK((co_await quoit::write(fd, std::as_bytes(std::span(part.data(), part.size())))).value() == 10'000);
    }
    CHECK(::lseek(fd, 0, SEEK_SET) == 0);
    std::string back(200'000, ' ');
    const auto got = co_await quoit::read(fd, std::as_writable_bytes(std::span(back)));
    CHECK(got.value() == words.size());
    back.resize(words.size());
    CHECK(back == words);
    CHECK((co_await quoit::fsync(fd)).has_value());
    CHECK((co_await quoit::close(fd)).has_value());
  };
  quoit::sync_wait(all(), on_epoll);
}

TEST_CASE("on epoll, an open that waits for the other end of a pipe is given up, and what it opens later is closed") {
  const fifo f;
  auto all = [](const std::string& path) -> quoit::task<> {
    const auto late = co_await quoit::timeout(5ms, quoit::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(!late);
    CHECK(late.error() == errc::timed_out);
  };
  quoit::sync_wait(all(f.path), on_epoll);
  // The helper goes on when somebody reads, and leaves nothing open.
  const int reader = ::open(f.path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  REQUIRE(reader >= 0);
  std::this_thread::sleep_for(5ms);
  until([&] { return open_at(f.path) == 1; });
  ::close(reader);
}

TEST_CASE("on epoll, more files than helpers are served in turn") {
  auto all = []() -> quoit::task<> {
    const std::string path = "/tmp/quoit-epoll-many-" + std::to_string(::getpid());
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    ::unlink(path.c_str());
    quoit::scope s;
    std::vector<quoit::result<std::size_t>> written(500);
    const std::string words = "some words";
    for (std::size_t i = 0; i < written.size(); ++i) {
      s.spawn(keep(quoit::write(fd, bytes_of(words), i * words.size()), written[i]));
    }
    co_await s.join();
    for (const auto& w : written) CHECK(w.value() == words.size());
    struct stat status{};
    REQUIRE(::fstat(fd, &status) == 0);
    CHECK(static_cast<std::size_t>(status.st_size) == written.size() * words.size());
    ::close(fd);
  };
  quoit::sync_wait(all(), on_epoll);
}

TEST_CASE("on epoll, an executor that goes with operations in flight leaves nothing behind") {
  const pair p;
  const fifo f;
  std::array<std::byte, 8> buffer{};
  quoit::result<std::size_t> received{};
  quoit::result<int> opened{};
  {
    auto ex = quoit::executor::create(on_epoll).value();
    ex.spawn(keep(quoit::recv(p.ends[0], buffer), received));
    ex.spawn(keep(quoit::open(f.path.c_str(), O_RDONLY | O_CLOEXEC), opened));
    auto waits = []() -> quoit::task<> { CHECK(co_await quoit::sleep_for(2ms)); };
    ex.run(waits());
  }
  REQUIRE(::send(p.ends[1], "late", 4, 0) == 4);
  CHECK(::recv(p.ends[0], buffer.data(), buffer.size(), MSG_DONTWAIT) == 4);
  // For the helper that still waits, if it had begun: its open ends, and it closes what it got.
  const int writer = ::open(f.path.c_str(), O_RDWR | O_CLOEXEC);
  CHECK(writer >= 0);
  until([&] { return open_at(f.path) == 1; });
  ::close(writer);
}

TEST_CASE("on epoll, hundreds of waits for as many sockets end each with its own bytes") {
  auto all = []() -> quoit::task<> {
    constexpr std::size_t count = 300;
    std::vector<std::unique_ptr<pair>> pairs;
    for (std::size_t i = 0; i < count; ++i) pairs.push_back(std::make_unique<pair>());
    auto receives = [](int from, std::size_t i) -> quoit::task<> {
      std::array<std::byte, 8> buffer{};
      const auto got = co_await quoit::recv(from, buffer);
      CHECK(got.value() == 1 + i % 8);
    };
    quoit::scope s;
    for (std::size_t i = 0; i < count; ++i) s.spawn(receives(pairs[i]->ends[0], i));
    CHECK(co_await quoit::sleep_for(1ms));
    for (std::size_t i = count; i-- > 0;) REQUIRE(::send(pairs[i]->ends[1], "12345678", 1 + i % 8, 0) > 0);
    co_await s.join();
  };
  quoit::sync_wait(all(), on_epoll);
}

TEST_CASE("on epoll, opens that were given up and never end keep no file waiting") {
  const fifo f;
  auto all = [](const std::string& path) -> quoit::task<> {
    for (int i = 0; i < 70; ++i) {
      const auto late = co_await quoit::timeout(1ms, quoit::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      CHECK_FALSE(late.has_value());
    }
    const std::string file = "/tmp/quoit-epoll-stuck-" + std::to_string(::getpid());
    const auto fd = co_await quoit::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd.has_value());
    ::unlink(file.c_str());
    CHECK((co_await quoit::fsync(*fd)).has_value());
    CHECK((co_await quoit::close(*fd)).has_value());
  };
  quoit::sync_wait(all(f.path), on_epoll);
  // Those that wait go on, one after the other.
  until([&] {
    const int writer = ::open(f.path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    std::this_thread::sleep_for(2ms);
    ::close(writer);
    return open_at(f.path) == 0;
  });
}

TEST_CASE("a stop in a forked child leaves what its parent waits for alone") {
  for (const auto engine : {quoit::io_engine::automatic, quoit::io_engine::epoll}) {
    auto ex = quoit::executor::create({.engine = engine}).value();
    const pair p;
    auto all = [](int from, int to) -> quoit::task<> {
      quoit::scope s;
      std::array<std::byte, 8> buffer{};
      quoit::result<std::size_t> received{};
      s.spawn(keep(quoit::recv(from, buffer), received));
      CHECK(co_await quoit::sleep_for(2ms));
      child stops([&] {
        s.request_stop();
        return 0;
      });
      CHECK(stops.wait().status == 0);
      CHECK(co_await quoit::sleep_for(2ms));
      REQUIRE(::send(to, "here", 4, 0) == 4);
      co_await s.join();
      CHECK(received.value() == 4);
    };
    ex.run(all(p.ends[0], p.ends[1]));
  }
}

TEST_CASE("a receive of all bytes leaves datagrams what they are, on either engine") {
  for (const auto engine : {quoit::io_engine::automatic, quoit::io_engine::epoll}) {
    auto all = []() -> quoit::task<> {
      const pair p(SOCK_DGRAM);
      for (int i = 0; i < 3; ++i) REQUIRE(::send(p.ends[1], "0123456789", 10, 0) == 10);
      std::array<std::byte, 25> buffer{};
      for (int i = 0; i < 3; ++i) CHECK((co_await quoit::recv(p.ends[0], buffer, MSG_WAITALL)).value() == 10);
    };
    quoit::sync_wait(all(), {.engine = engine});
  }
}

TEST_CASE("on epoll, an executor that was polled in another loop sleeps again in a run of its own") {
  // In a process of its own: what hangs ends there.
  child polls([] {
    ::alarm(30);
    auto options = on_epoll;
    options.wait = quoit::wait::block;
    auto ex = quoit::executor::create(options).value();
    auto nap = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(5ms)); };
    ex.run(nap());
    static_cast<void>(ex.fd().value());
    int called = 0;
    for (int i = 0; i < 3; ++i) {
      ex.poll();
      ex.post([&] { ++called; });
      ex.poll();
    }
    ex.run(nap());
    return called == 3 ? 0 : 1;
  });
  CHECK(polls.wait().status == 0);
}

TEST_CASE("on epoll, two threads that wait for one signal both go on when one of them has it") {
  child waits([] {
    ::alarm(60);
    sigset_t mine;
    ::sigemptyset(&mine);
    ::sigaddset(&mine, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &mine, nullptr);
    std::atomic<int> taken = 0;
    std::array<std::atomic<quoit::executor*>, 2> at{};
    const auto serve = [&](std::size_t i) {
      auto ex = quoit::executor::create(on_epoll).value();
      auto take = [](std::atomic<int>& n) -> quoit::task<> {
        auto waiting = quoit::signal_set::open({SIGUSR1}).value();
        for (;;) {
          const auto number = co_await waiting.next();
          if (!number) co_return;
          ++n;
        }
      };
      at[i] = &ex;
      ex.run(take(taken));
    };
    std::thread first(serve, 0), second(serve, 1);
    while (at[0] == nullptr || at[1] == nullptr) std::this_thread::yield();
    bool all = true;
    for (int i = 0; i < 3000 && all; ++i) {
      std::atomic<int> alive = 0;
      ::kill(::getpid(), SIGUSR1);
      while (taken <= i) std::this_thread::yield();
      for (auto& ex : at) ex.load()->post([&] { ++alive; });
      for (int n = 0; n < 10'000 && alive < 2; ++n) std::this_thread::sleep_for(1ms);
      all = alive == 2;
    }
    // One that hangs does not end either.
    if (!all) ::_exit(1);
    for (auto& ex : at) ex.load()->request_stop();
    first.join();
    second.join();
    return 0;
  });
  CHECK(waits.wait().status == 0);
}
