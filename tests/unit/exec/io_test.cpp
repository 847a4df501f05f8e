#include "quoit/io.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "quoit/executor.hpp"
#include "quoit/scope.hpp"
#include "quoit/signals.hpp"
#include "quoit/sleep.hpp"
#include "quoit/this_task.hpp"
#include "quoit/timeout.hpp"

using namespace std::chrono_literals;
using quoit::errc;

namespace {

std::span<const std::byte> bytes_of(const std::string& s) { return std::as_bytes(std::span(s.data(), s.size())); }

struct pair {
  pair() { REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0); }
  ~pair() {
    for (const int end : ends) ::close(end);
  }
  int ends[2];
};

// Awaits the operation and keeps what it answered.
template <class Operation, class R>
quoit::task<> keep(Operation operation, quoit::result<R>& out) {
  out = co_await std::move(operation);
}

// Each kind that may wait for ever, on the two ends of a quiet connection.
template <class Each>
void for_each_waiting(Each each) {
  std::array<std::byte, 16> buffer{};
  {
    const pair p;
    each(quoit::read(p.ends[0], buffer), std::size_t{});
  }
  {
    const pair p;
    each(quoit::recv(p.ends[0], buffer), std::size_t{});
  }
  {
    const pair p;
    each(quoit::poll(p.ends[0], POLLIN), unsigned{});
  }
  {
    const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(::listen(listening, 1) == 0);
    each(quoit::accept(listening), int{});
    ::close(listening);
  }
  {
    const pair p;
    std::vector<std::byte> full(1 << 16);
    while (::send(p.ends[0], full.data(), full.size(), MSG_DONTWAIT) > 0) {
    }
    each(quoit::send(p.ends[0], full), std::size_t{});
    each(quoit::write(p.ends[0], full), std::size_t{});
  }
}

}  // namespace

TEST_CASE("a file is opened, written, synced, read back and closed") {
  auto all = []() -> quoit::task<> {
    const std::string path = "/tmp/quoit-io-test-" + std::to_string(::getpid());
    const auto fd = co_await quoit::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd.has_value());
    const std::string words = "what is written is there";
    CHECK((co_await quoit::write(*fd, bytes_of(words), 0)).value() == words.size());
    CHECK((co_await quoit::fsync(*fd)).has_value());
    CHECK((co_await quoit::fdatasync(*fd)).has_value());
    std::string back(words.size(), ' ');
    CHECK((co_await quoit::read(*fd, std::as_writable_bytes(std::span(back)), 0)).value() == words.size());
    CHECK(back == words);
    CHECK((co_await quoit::read(*fd, std::as_writable_bytes(std::span(back)), 1000)).value() == 0);
    CHECK((co_await quoit::close(*fd)).has_value());
    const auto gone = co_await quoit::read(*fd, std::as_writable_bytes(std::span(back)), 0);
    REQUIRE(!gone);
    CHECK(gone.error() == errc::system);
    CHECK(gone.error().system_errno() == EBADF);
    ::unlink(path.c_str());
    const auto missing = co_await quoit::open(path.c_str(), O_RDONLY);
    REQUIRE(!missing);
    CHECK(missing.error().system_errno() == ENOENT);
  };
  quoit::sync_wait(all());
}

TEST_CASE("a TCP connection is made, carries bytes both ways and ends") {
  auto all = []() -> quoit::task<> {
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(::bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listening, 8) == 0);
    ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length);
    auto server = [](int on) -> quoit::task<> {
      const int fd = (co_await quoit::accept(on)).value();
      std::array<std::byte, 64> buffer{};
      for (;;) {
        const std::size_t n = (co_await quoit::recv(fd, buffer)).value();
        if (n == 0) break;
        CHECK((co_await quoit::send(fd, std::span(buffer).first(n))).value() == n);
      }
      CHECK((co_await quoit::close(fd)).has_value());
    };
    quoit::scope s;
    s.spawn(server(listening));
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK((co_await quoit::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address)).has_value());
    for (int i = 0; i < 100; ++i) {
      const std::string words = "message " + std::to_string(i);
      CHECK((co_await quoit::send(fd, bytes_of(words))).value() == words.size());
      std::string back(words.size(), ' ');
      CHECK((co_await quoit::recv(fd, std::as_writable_bytes(std::span(back)))).value() == words.size());
      CHECK(back == words);
    }
    CHECK((co_await quoit::close(fd)).has_value());
    co_await s.join();
    ::close(listening);
    // Nobody listens any more.
    const int refused = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto no = co_await quoit::connect(refused, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    CHECK(no.error().system_errno() == ECONNREFUSED);
    ::close(refused);
  };
  quoit::sync_wait(all());
}

TEST_CASE("a stop before an operation begins answers cancelled, and nothing is begun") {
  for_each_waiting([]<class Operation, class R>(Operation operation, R) {
    auto all = [](Operation o) -> quoit::task<> {
      quoit::scope s;
      quoit::result<R> out{};
      s.request_stop();
      s.spawn(keep(o, out));
      co_await s.join();
      REQUIRE(!out);
      CHECK(out.error() == errc::cancelled);
    };
    quoit::sync_wait(all(operation));
  });
}

TEST_CASE("a stop in the course of an operation answers cancelled") {
  for_each_waiting([]<class Operation, class R>(Operation operation, R) {
    auto all = [](Operation o) -> quoit::task<> {
      quoit::scope s;
      quoit::result<R> out{};
      s.spawn(keep(o, out));
      CHECK(co_await quoit::sleep_for(2ms));
      CHECK(s.running() == 1);
      s.request_stop();
      co_await s.join();
      REQUIRE(!out);
      CHECK(out.error() == errc::cancelled);
    };
    quoit::sync_wait(all(operation));
  });
}

TEST_CASE("a stop after the end of an operation changes nothing of its answer") {
  auto all = []() -> quoit::task<> {
    const pair p;
    REQUIRE(::write(p.ends[1], "x", 1) == 1);
    std::array<std::byte, 4> buffer{};
    quoit::scope s;
    quoit::result<std::size_t> out{};
    s.spawn(keep(quoit::read(p.ends[0], buffer), out));
    CHECK(co_await quoit::sleep_for(2ms));
    s.request_stop();
    co_await s.join();
    CHECK(out.value() == 1);
  };
  quoit::sync_wait(all());
}

TEST_CASE("a timeout ends an operation, which leaves the descriptor usable") {
  auto all = []() -> quoit::task<> {
    const pair p;
    std::array<std::byte, 4> buffer{};
    const auto late = co_await quoit::timeout(1ms, quoit::recv(p.ends[0], buffer));
    CHECK(late.error() == errc::timed_out);
    REQUIRE(::write(p.ends[1], "abc", 3) == 3);
    const auto now = co_await quoit::timeout(60s, quoit::recv(p.ends[0], buffer));
    CHECK(now.value() == 3);
  };
  quoit::sync_wait(all());
}

TEST_CASE("an executor that goes with a task in each kind of operation leaves nothing behind") {
  for_each_waiting([]<class Operation, class R>(Operation operation, R) {
    quoit::result<R> out = tl::unexpected(quoit::error(errc::busy));
    {
      auto ex = quoit::executor::create().value();
      ex.spawn(keep(operation, out));
      auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(1ms)); };
      ex.run(a_while());
    }
    // It was never resumed.
    CHECK(out.error() == errc::busy);
  });
}

TEST_CASE("a task that is destroyed in an operation lets go of its memory first") {
  for_each_waiting([]<class Operation, class R>(Operation operation, R) {
    auto all = [](Operation o) -> quoit::task<> {
      quoit::result<R> out{};
      {
        quoit::scope s;
        s.spawn(keep(o, out));
        CHECK(co_await quoit::sleep_for(1ms));
      }
      CHECK(co_await quoit::sleep_for(1ms));
    };
    quoit::sync_wait(all(operation));
  });
}

namespace {

// Listens, with a connection that waits to be accepted.
struct knocked {
  knocked() {
    listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(::bind(listening, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listening, 8) == 0);
    ::getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length);
    client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  }
  ~knocked() {
    ::close(client);
    ::close(listening);
  }
  int listening;
  int client;
};

int lowest_free_descriptor() {
  const int fd = ::eventfd(0, EFD_CLOEXEC);
  ::close(fd);
  return fd;
}

}  // namespace

TEST_CASE("a descriptor that came of an operation whose task is destroyed is closed") {
  auto all = []() -> quoit::task<> {
    const knocked door;
    const int before = lowest_free_descriptor();
    quoit::result<int> out = tl::unexpected(quoit::error(errc::busy));
    for (const bool accepts : {true, false}) {
      const auto operation = accepts ? quoit::accept(door.listening) : quoit::open("/dev/null", O_RDONLY | O_CLOEXEC);
      {
        quoit::scope s;
        s.spawn(keep(operation, out));
        // It is begun, and the connection is there: the stop comes too late.
        co_await quoit::this_task::yield();
      }
      CHECK(lowest_free_descriptor() == before);
    }
    CHECK(out.error() == errc::busy);
    const int to_close = ::eventfd(0, EFD_CLOEXEC);
    quoit::result<void> closed{};
    {
      quoit::scope s;
      s.spawn(keep(quoit::close(to_close), closed));
      co_await quoit::this_task::yield();
    }
    CHECK(lowest_free_descriptor() == before);
  };
  quoit::sync_wait(all());
  // And where all of the executor goes.
  const knocked door;
  const int before = lowest_free_descriptor();
  {
    auto ex = quoit::executor::create().value();
    quoit::result<int> out{};
    ex.spawn(keep(quoit::accept(door.listening), out));
    auto once = []() -> quoit::task<> { co_await quoit::this_task::yield(); };
    ex.run(once());
  }
  // Lower where a helper thread of the first executor was still on its way out before.
  CHECK(lowest_free_descriptor() <= before);
}

TEST_CASE("a connection that is accepted in spite of a stop is the answer, of timeout too") {
  auto all = []() -> quoit::task<> {
    const knocked first;
    quoit::scope s;
    quoit::result<int> out = tl::unexpected(quoit::error(errc::busy));
    s.spawn(keep(quoit::accept(first.listening), out));
    co_await quoit::this_task::yield();
    s.request_stop();
    co_await s.join();
    REQUIRE(out.has_value());
    ::close(*out);
    const knocked second;
    const auto got = co_await quoit::timeout(0ns, quoit::accept(second.listening));
    // Stopped before it began, or answered: in neither case is the connection lost.
    if (got) {
      ::close(*got);
    } else {
      CHECK(got.error() == errc::timed_out);
      const auto again = co_await quoit::accept(second.listening);
      REQUIRE(again.has_value());
      ::close(*again);
    }
  };
  quoit::sync_wait(all());
}

TEST_CASE("a socket that is closed under a recv can be stopped, and one that is shut down answers the end") {
  auto all = []() -> quoit::task<> {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    std::array<std::byte, 4> buffer{};
    quoit::scope s;
    quoit::result<std::size_t> out{};
    s.spawn(keep(quoit::recv(ends[0], buffer), out));
    CHECK(co_await quoit::sleep_for(1ms));
    CHECK((co_await quoit::close(ends[0])).has_value());
    CHECK(co_await quoit::sleep_for(1ms));
    CHECK(s.running() == 1);
    // The kernel keeps the socket for the recv: what the peer sends still arrives.
    REQUIRE(::send(ends[1], "ab", 2, MSG_NOSIGNAL) == 2);
    co_await s.join();
    CHECK(out.value() == 2);
    ::close(ends[1]);

    const pair quiet;
    s.spawn(keep(quoit::recv(quiet.ends[0], buffer), out));
    CHECK(co_await quoit::sleep_for(1ms));
    ::shutdown(quiet.ends[0], SHUT_RDWR);
    co_await s.join();
    CHECK(out.value() == 0);
  };
  quoit::sync_wait(all());
}

TEST_CASE("more operations than the queue has entries are all done") {
  auto all = []() -> quoit::task<> {
    constexpr int n = 500;
    std::vector<int> fds;
    std::vector<std::uint64_t> counts(n);
    quoit::scope s;
    int done = 0;
    auto reader = [](int fd, std::uint64_t& count, int& d) -> quoit::task<> {
      const auto got = co_await quoit::read(fd, std::as_writable_bytes(std::span(&count, 1)));
      if (got && *got == sizeof count && count == 7) ++d;
    };
    for (std::size_t i = 0; i < n; ++i) {
      fds.push_back(::eventfd(0, EFD_CLOEXEC));
      s.spawn(reader(fds.back(), counts[i], done));
    }
    CHECK(co_await quoit::sleep_for(5ms));
    const std::uint64_t seven = 7;
    // More completions at once than their queue has entries.
    for (const int fd : fds) CHECK(::write(fd, &seven, sizeof seven) == sizeof seven);
    co_await s.join();
    CHECK(done == n);
    // And all of them cancelled at once.
    for (std::size_t i = 0; i < n; ++i) s.spawn(reader(fds[i], counts[i], done));
    CHECK(co_await quoit::sleep_for(5ms));
    CHECK(s.running() == n);
    s.request_stop();
    co_await s.join();
    CHECK(done == n);
    for (const int fd : fds) ::close(fd);
  };
  quoit::sync_wait(all(), {.entries = 8});
}

TEST_CASE("a descriptor that is closed under an operation: it goes on with what it has, and can be stopped") {
  auto all = []() -> quoit::task<> {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    std::array<std::byte, 4> buffer{};
    quoit::scope s;
    quoit::result<std::size_t> out{};
    s.spawn(keep(quoit::read(ends[0], buffer), out));
    CHECK(co_await quoit::sleep_for(1ms));
    ::close(ends[0]);
    CHECK(co_await quoit::sleep_for(1ms));
    s.request_stop();
    co_await s.join();
    CHECK(out.error() == errc::cancelled);
    ::close(ends[1]);
  };
  quoit::sync_wait(all());
}

TEST_CASE("a signal that several wait for comes to one of them, and stays blocked until the last of them goes") {
  const auto is_blocked = [](int number) -> bool {
    sigset_t now;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return ::sigismember(&now, number) == 1;
  };
  auto all = [](bool (*blocked)(int)) -> quoit::task<> {
    auto second = std::make_unique<quoit::signal_set>(quoit::signal_set::open({SIGUSR1, SIGUSR1}).value());
    {
      auto first = quoit::signal_set::open({SIGUSR1, SIGUSR2}).value();
      auto moved = std::move(first);
      // Cancelled, and as good as new.
      CHECK((co_await quoit::timeout(1ms, moved.next())).error() == errc::timed_out);
      CHECK((co_await quoit::timeout(1ms, second->next())).error() == errc::timed_out);
      auto third = std::make_unique<quoit::signal_set>(std::move(moved));
      second.swap(third);
    }
    // The one that was made first is gone.
    CHECK(blocked(SIGUSR1));
    ::kill(::getpid(), SIGUSR1);
    CHECK((co_await second->next()).value() == SIGUSR1);
    second.reset();
    CHECK(!blocked(SIGUSR1));
    CHECK(!blocked(SIGUSR2));
  };
  quoit::sync_wait(all(is_blocked));
}

TEST_CASE("a signal that is caught while the loop sleeps interrupts nothing") {
  static volatile sig_atomic_t caught = 0;
  caught = 0;
  struct sigaction handler{};
  handler.sa_handler = [](int) { caught = caught + 1; };
  struct sigaction before{};
  ::sigaction(SIGUSR1, &handler, &before);
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  const pthread_t self = ::pthread_self();
  std::thread sends([&] {
    for (int i = 0; i < 20; ++i) {
      std::this_thread::sleep_for(1ms);
      ::pthread_kill(self, SIGUSR1);
    }
    ex.request_stop();
  });
  auto sleeper = []() -> quoit::task<> { CHECK((co_await quoit::sleep_for(1h)).error() == errc::cancelled); };
  ex.run(sleeper());
  sends.join();
  CHECK(caught > 0);
  ::sigaction(SIGUSR1, &before, nullptr);
}

namespace {
quoit::executor* to_stop = nullptr;
}

TEST_CASE("a signal handler may ask an executor that sleeps to stop") {
  struct sigaction handler{};
  handler.sa_handler = [](int) { to_stop->request_stop(); };
  struct sigaction before{};
  ::sigaction(SIGUSR2, &handler, &before);
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  to_stop = &ex;
  const pthread_t self = ::pthread_self();
  for (int i = 0; i < 20; ++i) {
    std::thread sends([&] {
      std::this_thread::sleep_for(100us * i);
      ::pthread_kill(self, SIGUSR2);
    });
    auto sleeper = []() -> quoit::task<> { CHECK((co_await quoit::sleep_for(1h)).error() == errc::cancelled); };
    ex.run(sleeper());
    sends.join();
  }
  ::sigaction(SIGUSR2, &before, nullptr);
}

TEST_CASE("signals are awaited, one after the other") {
  auto all = []() -> quoit::task<> {
    auto sigs = quoit::signal_set::open({SIGUSR1, SIGUSR2}).value();
    ::kill(::getpid(), SIGUSR1);
    CHECK((co_await sigs.next()).value() == SIGUSR1);
    ::kill(::getpid(), SIGUSR2);
    CHECK((co_await sigs.next()).value() == SIGUSR2);
    CHECK((co_await quoit::timeout(1ms, sigs.next())).error() == errc::timed_out);
  };
  // To this thread only, as no other has them blocked.
  quoit::sync_wait(all());
  CHECK(quoit::signal_set::open({SIGKILL}).error() == errc::invalid_argument);
  CHECK(quoit::signal_set::open({9999}).error() == errc::invalid_argument);
}
