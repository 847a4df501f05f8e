// A task that forks: the child goes on in it, has nothing of its parent's executor, and may make one of its own.
// On both engines, and on each kind of bus.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"
#include "support/no_leak_check.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

enum class way { shared_memory, inherited, sealed, kernel };

struct setting {
  quoit::io_engine engine;
  quoit::rung rung;
  way bus;
};

const setting settings[] = {
    {quoit::io_engine::automatic, quoit::rung::automatic, way::shared_memory},
    {quoit::io_engine::automatic, quoit::rung::pipe, way::shared_memory},
    {quoit::io_engine::automatic, quoit::rung::automatic, way::inherited},
    {quoit::io_engine::automatic, quoit::rung::automatic, way::sealed},
    {quoit::io_engine::automatic, quoit::rung::automatic, way::kernel},
    {quoit::io_engine::epoll, quoit::rung::automatic, way::shared_memory},
    {quoit::io_engine::epoll, quoit::rung::automatic, way::inherited},
    {quoit::io_engine::epoll, quoit::rung::automatic, way::sealed},
    {quoit::io_engine::epoll, quoit::rung::automatic, way::kernel},
};

// Dies with its parent: one that hangs is not left behind.
pid_t fork_here() {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  return 0;
}

// Waits in the loop, which goes on meanwhile. What waitpid() says; 0 is a good end.
quoit::task<int> status_of(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, WNOHANG) == 0) static_cast<void>(co_await quoit::sleep_for(200us));
  co_return status;
}

// The process that forks: an executor, a bus on it, and tasks that wait for everything that one can wait for.
struct parent {
  explicit parent(const setting& s, std::string bus_name) : how(s), name(std::move(bus_name)) {
    quoit::executor_options o;
    o.engine = s.engine;
    o.rung = s.rung;
    o.wait = quoit::wait::block;
    executor.emplace(quoit::executor::create(o).value());
    if (s.bus == way::inherited || s.bus == way::sealed) {
      memory.emplace(quoit::inherited_memory::create({.bytes = 64 << 20, .sealed = s.bus == way::sealed}).value());
    }
    bus.emplace(open(&*executor));
    pub.emplace(bus->publisher<checked>("t").value());
    sub.emplace(bus->subscriber<checked>("t").value());
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) ::_exit(99);
  }

  quoit::bus open(quoit::executor* where) {
    quoit::bus_options o;
    o.transport = how.bus == way::kernel ? quoit::transport::kernel : quoit::transport::shared_memory;
    if (memory && where) return quoit::bus::open(*where, *memory, o).value();
    if (memory) return quoit::bus::open(*memory, o).value();
    if (where) return quoit::bus::open(*where, name, o).value();
    return quoit::bus::open(name, o).value();
  }

  setting how;
  std::string name;
  std::optional<quoit::inherited_memory> memory;
  std::optional<quoit::executor> executor;
  std::optional<quoit::bus> bus;
  std::optional<quoit::publisher<checked>> pub;
  std::optional<quoit::subscriber<checked>> sub;
  int ends[2] = {-1, -1};
  // What the tasks beside the one that forks have done.
  int bytes_read = 0;
  int received = 0;
  int slept = 0;
  int ran = 0;
};

quoit::task<> read_bytes(parent& p, int count) {
  while (p.bytes_read < count) {
    std::byte byte[1];
    if (!co_await quoit::read(p.ends[0], byte)) co_return;
    ++p.bytes_read;
  }
}

quoit::task<> receive(parent& p, int count) {
  while (p.received < count) {
    const auto s = co_await p.sub->next();
    if (!s || !(*s)->intact() || (*s)->number != static_cast<std::uint64_t>(p.received)) co_return;
    ++p.received;
  }
}

quoit::task<> sleep_often(parent& p, int count) {
  while (p.slept < count) {
    const auto slept = co_await quoit::sleep_for(100us);
    if (!slept) co_return;
    ++p.slept;
  }
}

quoit::task<> run_once(parent& p) {
  ++p.ran;
  co_return;
}

template <class Operation>
quoit::task<bool> is_refused(Operation operation) {
  const auto answer = co_await std::move(operation);
  co_return !answer && answer.error() == errc::forked;
}

// In the child: 0, or the number of the operation that did not answer as it should.
quoit::task<int> check_operations(parent& p) {
  std::array<std::byte, 8> buffer{};
  const auto numbered = ::fcntl(p.ends[0], F_DUPFD_CLOEXEC, 0);
  if (!co_await is_refused(quoit::read(p.ends[0], buffer))) co_return 1;
  if (!co_await is_refused(quoit::write(p.ends[0], buffer))) co_return 2;
  if (!co_await is_refused(quoit::recv(p.ends[0], buffer))) co_return 3;
  if (!co_await is_refused(quoit::send(p.ends[0], buffer))) co_return 4;
  if (!co_await is_refused(quoit::accept(p.ends[0]))) co_return 5;
  if (!co_await is_refused(quoit::connect(p.ends[0], nullptr, 0))) co_return 6;
  if (!co_await is_refused(quoit::poll(p.ends[0], POLLIN))) co_return 7;
  if (!co_await is_refused(quoit::open("/dev/null", O_RDONLY))) co_return 8;
  if (!co_await is_refused(quoit::fsync(p.ends[0]))) co_return 9;
  if (!co_await is_refused(quoit::fdatasync(p.ends[0]))) co_return 10;
  // It is closed all the same: nobody else would do it.
  if (!co_await is_refused(quoit::close(numbered)) || ::fcntl(numbered, F_GETFD) >= 0) co_return 11;
  if (!co_await is_refused(quoit::sleep_for(1ns))) co_return 12;
  if (!co_await is_refused(quoit::timeout(1ns, quoit::recv(p.ends[0], buffer)))) co_return 13;
  if (!co_await is_refused(p.sub->next())) co_return 20;
  if (!co_await is_refused(p.sub->next_batch())) co_return 21;
  if (!co_await is_refused(p.pub->loan())) co_return 22;
  if (!co_await is_refused(p.pub->matched(0))) co_return 23;
  if (!co_await is_refused(p.pub->flush())) co_return 24;
  if (!co_await is_refused(p.bus->publisher_async<checked>("u"))) co_return 25;
  if (!co_await is_refused(p.bus->subscriber_async<checked>("u"))) co_return 26;
  if (!co_await is_refused(quoit::bus::open_async(p.name))) co_return 27;
  if (p.sub->poll().error() != errc::forked || p.sub->wait(1s).error() != errc::forked) co_return 30;
  if (p.pub->publish(checked::make(9, 9)).error() != errc::forked) co_return 31;
  if (p.pub->loan_for(1s).error() != errc::forked || p.pub->flush_for(1s).error() != errc::forked) co_return 32;
  if (p.bus->publisher<checked>("u").error() != errc::forked) co_return 33;
  if (p.bus->subscriber<checked>("u").error() != errc::forked) co_return 34;
  if (p.pub->fd().error() != errc::forked || p.sub->fd().error() != errc::forked) co_return 35;
  if (p.executor->fd().error() != errc::forked) co_return 36;
  if (quoit::bus::open(*p.executor, p.name).error() != errc::forked) co_return 37;
  // What has no answer to give throws.
  auto work = [] { return 1; };
  try {
    static_cast<void>(co_await quoit::offload(work));
    co_return 40;
  } catch (const std::logic_error&) {
  }
  try {
    p.executor->post([] {});
    co_return 41;
  } catch (const std::logic_error&) {
  }
  try {
    p.executor->run();
    co_return 42;
  } catch (const std::logic_error&) {
  }
  // Tasks that it begins itself run.
  co_await quoit::this_task::yield();
  const auto both =
      co_await quoit::when_all(is_refused(quoit::recv(p.ends[0], buffer)), is_refused(quoit::sleep_for(1h)));
  if (!std::get<0>(both) || !std::get<1>(both)) co_return 43;
  quoit::scope s;
  s.spawn(run_once(p));
  co_await s.join();
  co_return p.ran == 1 ? 0 : 44;
}

quoit::task<bool> talk(quoit::bus& bus) {
  auto pub = bus.publisher<checked>("mine").value();
  auto sub = bus.subscriber<checked>("mine").value();
  for (std::uint64_t n = 0; n < 20; ++n) {
    auto loan = co_await pub.loan();
    if (!loan) co_return false;
    **loan = checked::make(1, n);
    std::move(*loan).publish();
    const auto s = co_await sub.next();
    if (!s || !(*s)->intact() || (*s)->number != n) co_return false;
  }
  int quiet[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, quiet) != 0) co_return false;
  std::byte byte[1];
  const auto late = co_await quoit::timeout(1ms, quoit::recv(quiet[0], byte));
  if (late || late.error() != errc::timed_out) co_return false;
  const auto sent = co_await quoit::send(quiet[1], byte);
  const auto got = co_await quoit::recv(quiet[0], byte);
  auto work = [] { return 7; };
  const int seven = co_await quoit::offload(work);
  const auto none = co_await quoit::timeout(1ms, sub.next());
  co_return sent&& got&& seven == 7 && !none && none.error() == errc::timed_out;
}

// A new executor and a new bus, on the stack of the old ones.
bool lives_its_own_life(parent& p) {
  quoit::executor_options o;
  o.engine = p.how.engine;
  o.rung = p.how.rung;
  o.wait = quoit::wait::block;
  auto executor = quoit::executor::create(o).value();
  auto bus = p.open(&executor);
  return executor.run(talk(bus));
}

constexpr int messages = 40;

quoit::task<int> fork_and_go_on(parent& p) {
  p.executor->spawn(read_bytes(p, messages));
  p.executor->spawn(receive(p, messages));
  p.executor->spawn(sleep_often(p, messages));
  co_await quoit::sleep_for(1ms);
  for (int n = 0; n < messages; ++n) {
    // Ready when we fork, and the parent's to run.
    if (n == 0) p.executor->spawn(run_once(p));
    const pid_t pid = n % 10 == 0 ? fork_here() : -1;
    if (pid == 0) {
      const int before = p.bytes_read + p.received + p.slept + p.ran;
      p.ran = 0;
      if (const int wrong = co_await check_operations(p); wrong != 0) ::_exit(wrong);
      if (!lives_its_own_life(p)) ::_exit(50);
      if (p.bytes_read + p.received + p.slept + (n == 0 ? 0 : 1) != before) ::_exit(51);
      ::_exit(0);
    }
    if (::write(p.ends[1], "x", 1) != 1 || !p.pub->publish(checked::make(0, static_cast<std::uint64_t>(n))))
      co_return 60;
    const int status = pid < 0 ? 0 : co_await status_of(pid);
    if (WIFSIGNALED(status)) co_return 100 + WTERMSIG(status);
    if (status != 0) co_return WEXITSTATUS(status);
  }
  while (p.bytes_read < messages || p.received < messages || p.slept < messages) co_await quoit::sleep_for(1ms);
  co_return p.ran == 1 ? 0 : 61;
}

template <class Run>
void in_each_setting(Run run) {
  for (const setting& s : settings) {
    const bus_guard name;
    quoit::test::child process([&] { return run(s, name.name()); });
    INFO("engine " << static_cast<int>(s.engine) << ", rung " << static_cast<int>(s.rung) << ", bus "
                   << static_cast<int>(s.bus));
    const ending how = process.wait();
    CHECK(how.signal == 0);
    CHECK(how.status == 0);
  }
}

}  // namespace

TEST_CASE("the child of a task has its own executor and bus, and its parent everything that it had") {
  in_each_setting([](const setting& s, const std::string& name) {
    parent p(s, name);
    return p.executor->run(fork_and_go_on(p));
  });
}

namespace {

// Leaves run() in the child, with what `end` gives.
quoit::task<int> fork_and_return(parent& p, int in_child) {
  p.executor->spawn(read_bytes(p, 2));
  p.executor->spawn(receive(p, 2));
  p.executor->spawn(sleep_often(p, 1'000'000));
  auto held = p.pub->try_loan().value();
  co_await quoit::sleep_for(1ms);
  const pid_t pid = fork_here();
  if (pid == 0) co_return in_child;
  held->number = 0;
  *held = checked::make(0, 0);
  std::move(held).publish();
  if (::write(p.ends[1], "xy", 2) != 2) co_return 60;
  const int status = co_await status_of(pid);
  if (status != 0) co_return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
  if (!p.pub->publish(checked::make(0, 1))) co_return 61;
  while (p.bytes_read < 2 || p.received < 2) co_await quoit::sleep_for(1ms);
  p.executor->request_stop();
  co_return 0;
}

constexpr int back_in_child = 77;

}  // namespace

TEST_CASE("run() returns in the child when the task is over, and what goes there harms nobody") {
  in_each_setting([](const setting& s, const std::string& name) {
    parent p(s, name);
    const int status = p.executor->run(fork_and_return(p, back_in_child));
    if (status != back_in_child) return status;
    // In the child: in an order in which nothing of the parent's is there any more when the executor goes.
    if (!lives_its_own_life(p)) return 50;
    p.sub.reset();
    p.pub.reset();
    p.bus.reset();
    p.executor.reset();
    if (!lives_its_own_life(p)) return 51;
    return 0;
  });
}

TEST_CASE("in the child the executor may go before its bus, with tasks that wait") {
  in_each_setting([](const setting& s, const std::string& name) {
    parent p(s, name);
    const int status = p.executor->run(fork_and_return(p, back_in_child));
    if (status != back_in_child) return status;
    p.executor.reset();
    p.sub.reset();
    p.pub.reset();
    p.bus.reset();
    return lives_its_own_life(p) ? 0 : 50;
  });
}

namespace {

// Of the child that exits, and never destroyed but by exit().
std::optional<parent>& static_parent() {
  static std::optional<parent> one;
  return one;
}

quoit::task<int> fork_and_exit(parent& p, bool in_task) {
  p.executor->spawn(read_bytes(p, 1));
  p.executor->spawn(receive(p, 1));
  p.executor->spawn(sleep_often(p, 1'000'000));
  co_await quoit::sleep_for(1ms);
  const pid_t pid = fork_here();
  if (pid == 0) {
    if (in_task) std::exit(0);
    co_return back_in_child;
  }
  const int status = co_await status_of(pid);
  if (status != 0) co_return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
  if (!p.pub->publish(checked::make(0, 0)) || ::write(p.ends[1], "x", 1) != 1) co_return 61;
  while (p.bytes_read < 1 || p.received < 1) co_await quoit::sleep_for(1ms);
  p.executor->request_stop();
  co_return 0;
}

}  // namespace

TEST_CASE("a child that calls exit() ends well, in the task and behind run(), and so does its parent") {
  for (const bool in_task : {true, false}) {
    in_each_setting([in_task](const setting& s, const std::string& name) {
      auto& p = static_parent();
      p.emplace(s, name);
      const int status = p->executor->run(fork_and_exit(*p, in_task));
      if (status == back_in_child) std::exit(0);
      // The parent has static objects as well.
      if (status == 0) std::exit(0);
      return status;
    });
  }
}

TEST_CASE("a child that is forked outside of a task calls exit(), with tasks that wait") {
  in_each_setting([](const setting& s, const std::string& name) {
    auto& p = static_parent();
    p.emplace(s, name);
    p->executor->spawn(read_bytes(*p, 1));
    p->executor->spawn(receive(*p, 1));
    p->executor->spawn(sleep_often(*p, 1'000'000));
    auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(2ms)); };
    p->executor->run(a_while());
    const pid_t pid = fork_here();
    if (pid == 0) std::exit(0);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (status != 0) return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
    if (!p->pub->publish(checked::make(0, 0)) || ::write(p->ends[1], "x", 1) != 1) return 61;
    auto until_done = [](parent& of) -> quoit::task<> {
      while (of.bytes_read < 1 || of.received < 1) co_await quoit::sleep_for(1ms);
    };
    p->executor->run(until_done(*p));
    std::exit(0);
    return 62;
  });
}

namespace {

quoit::task<> fork_and_end(pid_t& pid) {
  pid = fork_here();
  co_return;
}

// Waits for a task that only the parent goes on with.
quoit::task<int> wait_for_everybody(parent& p, pid_t& pid) {
  quoit::scope s;
  s.spawn(read_bytes(p, 1));
  s.spawn(fork_and_end(pid));
  co_await s.join();
  const int status = co_await status_of(pid);
  co_return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
}

// The same, and the others are asked to stop, in both processes.
quoit::task<> fork_and_stop(quoit::scope& s, pid_t& pid) {
  co_await quoit::sleep_for(1ms);
  pid = fork_here();
  s.request_stop();
}

quoit::task<int> stop_everybody(parent& p, pid_t& pid) {
  quoit::scope s;
  s.spawn(read_bytes(p, 1));
  s.spawn(receive(p, 1));
  s.spawn(sleep_often(p, 1'000'000));
  s.spawn(fork_and_stop(s, pid));
  co_await s.join();
  if (pid == 0) co_return back_in_child;
  const int status = co_await status_of(pid);
  co_return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("run() throws in the child when what is left waits for what only the parent has") {
  in_each_setting([](const setting& s, const std::string& name) {
    parent p(s, name);
    pid_t pid = -1;
    // So that the parent's tasks end once the child has.
    auto write_later = [](parent& of, const pid_t& child) -> quoit::task<> {
      while (child <= 0) co_await quoit::sleep_for(1ms);
      if (::write(of.ends[1], "x", 1) != 1) co_return;
    };
    p.executor->spawn(write_later(p, pid));
    try {
      return p.executor->run(wait_for_everybody(p, pid));
    } catch (const std::logic_error&) {
      return pid == 0 ? 0 : 70;
    }
  });
}

TEST_CASE("in the child a stop ends what waits, and run() returns") {
  in_each_setting([](const setting& s, const std::string& name) {
    parent p(s, name);
    pid_t pid = -1;
    const int status = p.executor->run(stop_everybody(p, pid));
    return status == back_in_child ? 0 : status;
  });
}

TEST_CASE("the child of a task has no descriptor of an operation that waits in its parent") {
  for (const auto engine : {quoit::io_engine::automatic, quoit::io_engine::epoll}) {
    quoit::test::child process([engine] {
      auto executor = quoit::executor::create({.engine = engine}).value();
      int ends[2];
      if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 1;
      auto wait_for_bytes = [](int socket) -> quoit::task<> {
        std::byte byte[1];
        static_cast<void>(co_await quoit::recv(socket, byte));
      };
      auto fork_beside = [](int(&both)[2]) -> quoit::task<int> {
        co_await quoit::sleep_for(1ms);
        const pid_t pid = fork_here();
        if (pid == 0) {
          ::close(both[0]);
          ::close(both[1]);
          for (;;) ::pause();
        }
        ::close(both[0]);
        co_return pid;
      };
      pid_t pid = 0;
      {
        quoit::executor mine = std::move(executor);
        mine.spawn(wait_for_bytes(ends[0]));
        pid = mine.run(fork_beside(ends));
      }
      // Nobody has the other end any more, though the child lives: this is its end.
      char c;
      pollfd closed{ends[1], POLLIN, 0};
      const bool ended = ::poll(&closed, 1, 60'000) == 1 && ::read(ends[1], &c, 1) == 0;
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      return ended ? 0 : 2;
    });
    CHECK(process.wait().status == 0);
  }
}

TEST_CASE("a loop in another one is still told of what comes when a child was forked between two polls") {
  for (const auto engine : {quoit::io_engine::automatic, quoit::io_engine::epoll}) {
    const bus_guard name;
    quoit::test::child process([engine, &name] {
      // It looks around by itself only once in an hour.
      const quoit::bus_options patient{.wait = quoit::wait::block, .recheck = 1h};
      std::optional<quoit::executor> executor(
          quoit::executor::create({.wait = quoit::wait::block, .engine = engine}).value());
      std::optional<quoit::bus> bus(quoit::bus::open(*executor, name.name(), patient).value());
      std::optional<quoit::subscriber<checked>> sub(bus->subscriber<checked>("t").value());
      auto other = quoit::bus::open(name.name(), patient).value();
      auto pub = other.publisher<checked>("t").value();
      const int fd = executor->fd().value();
      int received = 0;
      auto receive_all = [](quoit::subscriber<checked>& from, int& count) -> quoit::task<> {
        for (;;) {
          const auto s = co_await from.next();
          if (!s) co_return;
          ++count;
        }
      };
      executor->spawn(receive_all(*sub, received));
      executor->poll();
      pollfd readable{fd, POLLIN, 0};
      while (::poll(&readable, 1, 0) == 1) executor->poll();
      const pid_t pid = fork_here();
      if (pid == 0) {
        executor.reset();
        sub.reset();
        bus.reset();
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(pid, &status, 0);
      if (status != 0) return 1;
      if (!pub.publish(checked::make(0, 0))) return 2;
      while (received == 0) {
        if (::poll(&readable, 1, 60'000) != 1) return 3;
        executor->poll();
      }
      executor->request_stop();
      while (executor->poll()) {
      }
      return 0;
    });
    CHECK(process.wait().status == 0);
  }
}
