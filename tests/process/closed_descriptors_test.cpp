// A daemon may run with descriptors 0, 1 and 2 closed. Nothing that the library keeps open has such a number: what the
// program prints would be written into it.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <string>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

enum class way { shared_memory, inherited, sealed, kernel };

// What a daemon is given: which of 0, 1 and 2 are closed, and where its executor and its bus are.
struct setting {
  unsigned closed;
  quoit::io_engine engine;
  quoit::rung rung;
  way bus;
};

// Thrown in the child: a step of it that failed, or that left one of the low numbers open.
struct failed_at {
  int step;
};

class daemon_process {
 public:
  daemon_process(const setting& s, std::string bus_name, std::string directory)
      : setting_(s), bus_name_(std::move(bus_name)), directory_(std::move(directory)) {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, quiet_) != 0) throw failed_at{1};
    file_ = directory_ + "/file";
    const int made = ::open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (made < 3 || ::write(made, "0123456789", 10) != 10) throw failed_at{2};
    descriptor_ = made;
    for (int number = 0; number < 3; ++number) {
      if ((s.closed >> number & 1) != 0) ::close(number);
    }
  }

  void run() {
    step(10, with_executor());
    step(20, with_threads());
    step(30, with_files());
    if (setting_.bus == way::shared_memory) step(40, with_disk());
    step(50, with_memory_from_elsewhere());
  }

 private:
  void step(int number, bool good) {
    if (!good) throw failed_at{number};
    for (int low = 0; low < 3; ++low) {
      if ((setting_.closed >> low & 1) == 0) continue;
      // A helper thread may be opening a file at this moment. Then what has the number for as long cannot be written.
      for (int flags = 0; (flags = ::fcntl(low, F_GETFL)) >= 0; ::sched_yield()) {
        if ((flags & O_PATH) == 0) throw failed_at{number + 1};
      }
    }
  }

  quoit::bus_options options() const {
    quoit::bus_options o;
    o.transport = setting_.bus == way::kernel ? quoit::transport::kernel : quoit::transport::shared_memory;
    o.wait = quoit::wait::block;
    return o;
  }
  quoit::result<quoit::bus> open() {
    if (setting_.bus == way::inherited || setting_.bus == way::sealed) {
      if (!memory_) {
        memory_.emplace(
            quoit::inherited_memory::create({.bytes = 16 << 20, .sealed = setting_.bus == way::sealed}).value());
      }
      return quoit::bus::open(*memory_, options());
    }
    return quoit::bus::open(bus_name_, options());
  }

  static quoit::task<bool> talk(daemon_process& self, quoit::bus& bus, quoit::bus& other) {
    auto pub = bus.publisher<checked>("t").value();
    self.step(11, true);
    auto sub = other.subscriber<checked>("t").value();
    self.step(12, true);
    auto first = co_await pub.loan();
    if (!first) co_return false;
    **first = checked::make(0, 0);
    std::move(*first).publish();
    const auto received = co_await sub.next();
    if (!received || !(*received)->intact()) co_return false;
    // The executor sleeps, and what it waits for has the descriptors that sleeping takes.
    const auto none = co_await quoit::timeout(2ms, sub.next());
    if (none || none.error() != errc::timed_out) co_return false;
    self.step(13, true);
    std::byte byte[1];
    const auto quiet = co_await quoit::timeout(2ms, quoit::recv(self.quiet_[0], byte));
    if (quiet || quiet.error() != errc::timed_out) co_return false;
    const auto got = co_await quoit::read(self.descriptor_, byte, 3);
    if (!got || *got != 1 || byte[0] != std::byte{'3'}) co_return false;
    if (!co_await quoit::fdatasync(self.descriptor_)) co_return false;
    auto work = [] { return 7; };
    const int seven = co_await quoit::offload(std::move(work));
    auto signals = quoit::signal_set::open({SIGUSR1});
    if (!signals || seven != 7) co_return false;
    ::raise(SIGUSR1);
    const auto number = co_await signals->next();
    self.step(14, true);
    co_return number && *number == SIGUSR1;
  }

  bool with_executor() {
    quoit::executor_options o;
    o.engine = setting_.engine;
    o.rung = setting_.rung;
    o.wait = quoit::wait::block;
    auto executor = quoit::executor::create(o).value();
    step(15, true);
    auto bus = open();
    step(16, bus.has_value());
    // Another node of the same process: a wake goes from one to the other.
    auto other = open();
    step(17, other.has_value());
    if (!executor.run(talk(*this, *bus, *other))) return false;
    step(18, executor.fd().has_value());
    executor.poll();
    return true;
  }

  bool with_threads() {
    auto bus = open().value();
    auto pub = bus.publisher<checked>("u").value();
    auto sub = bus.subscriber<checked>("u").value();
    const bool named = setting_.bus == way::shared_memory || setting_.bus == way::kernel;
    if (named && (!sub.fd() || !pub.fd())) return false;
    step(21, true);
    if (sub.wait(1ms).error() != errc::timed_out) return false;
    if (!pub.publish(checked::make(0, 1))) return false;
    const auto s = sub.wait(60s);
    if (!s || (*s)->number != 1) return false;
    bus.clean_up();
    return !named || quoit::inspect(bus_name_).has_value();
  }

  bool with_files() {
    const auto by_name = quoit::mapped_file::open(file_, quoit::mapped_file::access::read);
    const auto by_number = quoit::mapped_file::open(descriptor_, quoit::mapped_file::access::read_write);
    return by_name && by_number && by_name->data()[1] == std::byte{'1'} && by_number->size() == 10;
  }

  bool with_disk() {
    auto bus = open().value();
    auto pub = bus.publisher<checked>("kept", {.directory = directory_, .segment_bytes = 64 << 10}).value();
    step(41, true);
    auto sub = bus.subscriber<checked>(
                      "kept", {.start = quoit::start::earliest, .directory = directory_, .subscription_name = "s"})
                   .value();
    step(42, true);
    for (std::uint64_t n = 0; n < 2000; ++n) {
      if (!pub.publish_for(checked::make(0, n), 60s)) return false;
      const auto s = sub.wait(60s);
      if (!s || (*s)->number != n) return false;
    }
    if (!pub.flush_for(60s) || !sub.commit()) return false;
    step(43, true);
    auto replay = quoit::replay<checked>::open(directory_, "kept");
    if (!replay || !replay->poll()) return false;
    return quoit::list_kept(directory_).has_value();
  }

  bool with_memory_from_elsewhere() {
    auto made = quoit::inherited_memory::create({.bytes = 4 << 20}).value();
    for (int low = 0; low < 3; ++low) {
      if ((setting_.closed >> low & 1) == 0) continue;
      // As a parent hands it over that starts a program with the memory in the place of a standard stream.
      if (::dup2(made.descriptor(), low) != low) return false;
      const auto adopted = quoit::inherited_memory::from_descriptor(low);
      if (!adopted || adopted->descriptor() < 3) return false;
      step(51, true);
    }
    return true;
  }

  setting setting_;
  std::string bus_name_;
  std::string directory_;
  std::string file_;
  int descriptor_ = -1;
  int quiet_[2] = {-1, -1};
  std::optional<quoit::inherited_memory> memory_;
};

void check_each_way(quoit::io_engine engine, quoit::rung rung) {
  for (const way bus : {way::shared_memory, way::inherited, way::sealed, way::kernel}) {
    for (unsigned closed = 1; closed < 8; ++closed) {
      const bus_guard name;
      const scratch_directory directory;
      quoit::test::child daemon([&] {
        try {
          daemon_process({closed, engine, rung, bus}, name.name(), directory.path()).run();
        } catch (const failed_at& f) {
          return f.step;
        }
        return 0;
      });
      INFO("way " << static_cast<int>(bus) << ", closed " << closed);
      CHECK(daemon.wait().status == 0);
    }
  }
}

}  // namespace

TEST_CASE("no descriptor of the library is 0, 1 or 2: on io_uring") {
  check_each_way(quoit::io_engine::automatic, quoit::rung::automatic);
}

TEST_CASE("no descriptor of the library is 0, 1 or 2: on io_uring, and woken through pipes") {
  check_each_way(quoit::io_engine::automatic, quoit::rung::pipe);
}

TEST_CASE("no descriptor of the library is 0, 1 or 2: on epoll") {
  check_each_way(quoit::io_engine::epoll, quoit::rung::automatic);
}
