// A thread forks while others are in the middle of anything: opening, closing, publishing, sleeping, reading files. The
// child has a copy of a moment, and of no thread but its own; it makes objects of its own, and it may call exit().
#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <thread>
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

struct setting {
  quoit::io_engine engine;
  quoit::transport transport;
};

constexpr setting settings[] = {
    {quoit::io_engine::automatic, quoit::transport::shared_memory},
    {quoit::io_engine::automatic, quoit::transport::kernel},
    {quoit::io_engine::epoll, quoit::transport::shared_memory},
    {quoit::io_engine::epoll, quoit::transport::kernel},
};

quoit::bus_options options_of(const setting& s) {
  quoit::bus_options o;
  o.transport = s.transport;
  o.wait = quoit::wait::block;
  return o;
}

quoit::executor_options executor_options_of(const setting& s) {
  quoit::executor_options o;
  o.engine = s.engine;
  o.wait = quoit::wait::block;
  return o;
}

// What a thread runs and nobody but exit() destroys.
struct running_executor {
  std::optional<quoit::executor> executor;
  std::optional<quoit::bus> bus;
  std::optional<quoit::publisher<checked>> pub;
  std::optional<quoit::subscriber<checked>> sub;
};

running_executor& static_objects() {
  static running_executor one;
  return one;
}

quoit::task<> read_a_file(const std::string& path, const std::atomic<bool>& stop) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  std::byte bytes[64]{};
  while (!stop) {
    static_cast<void>(co_await quoit::write(file, bytes, 0));
    static_cast<void>(co_await quoit::fdatasync(file));
    static_cast<void>(co_await quoit::read(file, bytes, 0));
    const auto other = co_await quoit::open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (other) static_cast<void>(co_await quoit::close(*other));
  }
  ::close(file);
}

quoit::task<> work_elsewhere(const std::atomic<bool>& stop) {
  while (!stop) {
    auto work = [] { return std::string(100, 'x').size(); };
    static_cast<void>(co_await quoit::offload(work));
    static_cast<void>(co_await quoit::sleep_for(50us));
  }
}

quoit::task<> talk_until(running_executor& r, const std::atomic<bool>& stop, std::uint64_t& count) {
  while (!stop) {
    auto loan = co_await r.pub->loan();
    if (!loan) co_return;
    **loan = checked::make(1, count);
    std::move(*loan).publish();
    const auto s = co_await r.sub->next();
    if (!s || !(*s)->intact() || (*s)->number != count) co_return;
    ++count;
  }
}

// A thread that runs an executor, until it is told to stop; it has done well if it counted.
void run_executor(const setting& s, const std::string& name, const std::string& path, const std::atomic<bool>& stop,
                  std::atomic<int>& good) {
  running_executor& r = static_objects();
  std::uint64_t count = 0;
  r.executor.emplace(quoit::executor::create(executor_options_of(s)).value());
  r.bus.emplace(quoit::bus::open(*r.executor, name, options_of(s)).value());
  r.pub.emplace(r.bus->publisher<checked>("run").value());
  r.sub.emplace(r.bus->subscriber<checked>("run").value());
  r.executor->spawn(read_a_file(path, stop));
  r.executor->spawn(work_elsewhere(stop));
  r.executor->run(talk_until(r, stop, count));
  r.executor->run();
  if (stop && count > 0) ++good;
  r.sub.reset();
  r.pub.reset();
  r.bus.reset();
  r.executor.reset();
}

// Opens and closes, with all the locks that this takes.
void open_and_close(const setting& s, const std::string& name, const std::atomic<bool>& stop, std::atomic<int>& good) {
  std::uint64_t rounds = 0;
  while (!stop) {
    auto bus = quoit::bus::open(name, options_of(s));
    if (!bus) return;
    auto pub = bus->publisher<checked>("busy");
    auto sub = bus->subscriber<checked>("busy");
    if (!pub || !sub || !pub->publish(checked::make(2, rounds))) return;
    const auto message = sub->wait(1ms);
    auto executor = quoit::executor::create(executor_options_of(s));
    if (!executor) return;
    ++rounds;
  }
  if (rounds > 0) ++good;
}

void publish_on_disk(const setting& s, const std::string& name, const std::string& directory,
                     const std::atomic<bool>& stop, std::atomic<int>& good) {
  if (s.transport == quoit::transport::kernel) {
    ++good;
    return;
  }
  auto bus = quoit::bus::open(name, options_of(s)).value();
  auto pub = bus.publisher<checked>("kept", {.directory = directory, .segment_bytes = 64 << 10}).value();
  std::uint64_t n = 0;
  for (; !stop; ++n) {
    if (!pub.publish_for(checked::make(3, n), 60s)) return;
    if (n % 100 == 0 && !pub.flush_for(60s)) return;
  }
  if (n > 0) ++good;
}

quoit::task<bool> talk(quoit::bus& bus) {
  // Of this child alone.
  const std::string topic = "child/" + std::to_string(::getpid());
  auto pub = bus.publisher<checked>(topic).value();
  auto sub = bus.subscriber<checked>(topic).value();
  auto loan = co_await pub.loan();
  if (!loan) co_return false;
  **loan = checked::make(4, 0);
  std::move(*loan).publish();
  const auto s = co_await sub.next();
  auto work = [] { return 7; };
  const int seven = co_await quoit::offload(work);
  const auto none = co_await quoit::timeout(100us, sub.next());
  co_return s && (*s)->intact() && seven == 7 && !none && none.error() == errc::timed_out;
}

bool lives_its_own_life(const setting& s, const std::string& name) {
  auto executor = quoit::executor::create(executor_options_of(s)).value();
  auto bus = quoit::bus::open(executor, name, options_of(s)).value();
  return executor.run(talk(bus));
}

pid_t fork_here() {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  return 0;
}

int number_of(int status) { return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status); }

int fork_often(const setting& s, const std::string& name, const std::string& directory) {
  std::atomic<bool> stop = false;
  std::atomic<int> good = 0;
  auto threads = std::make_unique<std::vector<std::thread>>();
  threads->emplace_back([&] { run_executor(s, name, directory + "/file", stop, good); });
  threads->emplace_back([&] { open_and_close(s, name, stop, good); });
  threads->emplace_back([&] { publish_on_disk(s, name, directory, stop, good); });
  const int children = fast() ? 20 : 100;
  for (int i = 0; i < children; ++i) {
    const pid_t pid = fork_here();
    if (pid == 0) {
      static_cast<void>(threads.release());
      const bool well = lives_its_own_life(s, name);
      if (i % 2 == 0) std::exit(well ? 0 : 50);
      ::_exit(well ? 0 : 51);
    }
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid || status != 0) return number_of(status);
  }
  stop = true;
  for (std::thread& t : *threads) t.join();
  return good == 3 ? 0 : 60;
}

}  // namespace

TEST_CASE("children that are forked beside busy threads work, and end; the threads go on") {
  for (const setting& s : settings) {
    const bus_guard name;
    const scratch_directory directory;
    quoit::test::child process([&] { return fork_often(s, name.name(), directory.path()); });
    INFO("engine " << static_cast<int>(s.engine) << ", transport " << static_cast<int>(s.transport));
    const ending how = process.wait();
    CHECK(how.signal == 0);
    CHECK(how.status == 0);
  }
}

TEST_CASE("a task of a group forks: the child ends with the task, and the group goes on") {
  for (const auto engine : {quoit::io_engine::automatic, quoit::io_engine::epoll}) {
    const bus_guard name;
    quoit::test::child process([engine, &name] {
      const setting s{engine, quoit::transport::shared_memory};
      std::atomic<int> wrong = 0;
      std::atomic<int> done = 0;
      quoit::executor_group_options o;
      o.count = 3;
      o.pin = false;
      o.executor = executor_options_of(s);
      auto group = quoit::executor_group::create(o).value();
      auto fork_in_task = [](const setting& how, const std::string& bus, quoit::executor_group& all, int i,
                             std::atomic<int>& bad, std::atomic<int>& count) -> quoit::task<> {
        co_await quoit::sleep_for(1ms);
        const pid_t pid = fork_here();
        if (pid == 0) {
          bool refused = false;
          try {
            all.post(0, [] {});
          } catch (const std::logic_error&) {
            refused = true;
          }
          if (!refused || !lives_its_own_life(how, bus)) ::_exit(50);
          if (i % 2 == 0) ::_exit(0);
          co_return;
        }
        int status = 0;
        while (::waitpid(pid, &status, WNOHANG) == 0) static_cast<void>(co_await quoit::sleep_for(200us));
        if (status != 0) bad = number_of(status);
        ++count;
      };
      for (int i = 0; i < 6; ++i) {
        group.spawn(static_cast<std::size_t>(i) % 3, fork_in_task(s, name.name(), group, i, wrong, done));
      }
      group.join();
      return done == 6 ? wrong.load() : 60;
    });
    CHECK(process.wait().status == 0);
  }
}

TEST_CASE("a program that a task starts keeps nothing of its parent's open") {
  for (const auto transport : {quoit::transport::shared_memory, quoit::transport::kernel}) {
    const bus_guard name;
    pid_t program = -1;
    {
      auto executor = quoit::executor::create().value();
      const setting s{quoit::io_engine::automatic, transport};
      auto bus = quoit::bus::open(executor, name.name(), options_of(s)).value();
      auto pub = bus.publisher<checked>("t").value();
      auto start = [](pid_t& pid) -> quoit::task<int> {
        char command[] = "sleep";
        char seconds[] = "1000";
        char* const arguments[] = {command, seconds, nullptr};
        co_return ::posix_spawnp(&pid, "sleep", nullptr, nullptr, arguments, environ);
      };
      REQUIRE(executor.run(start(program)) == 0);
      // Only what is its own: the three that every program has.
      const std::string folder = "/proc/" + std::to_string(program) + "/fd";
      until([&] {
        std::error_code ignored;
        return std::filesystem::read_symlink("/proc/" + std::to_string(program) + "/exe", ignored) !=
               std::filesystem::read_symlink("/proc/self/exe");
      });
      for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        std::error_code ignored;
        const std::string target = std::filesystem::read_symlink(entry.path(), ignored).string();
        CAPTURE(target);
        CHECK(target.find("quoit") == std::string::npos);
        CHECK(target.find("io_uring") == std::string::npos);
      }
    }
    // The last one has left, though the program lives.
    CHECK(name.files().empty());
    CHECK(quoit::inspect(name.name()).error() == errc::not_found);
    ::kill(program, SIGKILL);
    ::waitpid(program, nullptr, 0);
  }
}
