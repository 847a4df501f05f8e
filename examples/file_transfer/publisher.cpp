// Sends a file: read(2) puts it straight into shared memory, in loans.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "../common/cost.hpp"
#include "part.hpp"
#include "progress.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--transport shared_memory|kernel|automatic] [--subscribers N] FILE");
  if (args.rest.size() != 1) args.fail();
  stop_on_ctrl_c();
  const char* const path = args.rest[0].c_str();
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat status{};
  if (file < 0 || ::fstat(file, &status) != 0) return std::perror(path), 1;

  // A part takes some tens of microseconds, and the next one is waited for about as long: about what a wake costs.
  auto bus =
      quoit::bus::open(args.bus(), {.node_name = "file publisher", .transport = args.transport(), .spin_max = 100us});
  if (!bus) return failed("opening the bus", bus.error());
  // Nothing is lost: policy block waits for the subscribers. The ring takes 31 parts.
  auto publisher = bus->publisher<part>("files/transfer", {.policy = quoit::policy::block, .capacity_bytes = 8 << 20});
  if (!publisher) return failed("opening the topic", publisher.error());
  print_transport(publisher->transport());
  while (publisher->subscribers() < args.number("--subscribers", 1) && !stop_wanted) std::this_thread::sleep_for(1ms);

  const progress report;
  cost spent;
  std::uint64_t sent = 0;
  for (bool end = false; !end;) {
    if (stop_wanted) return failed("interrupted: the file is not whole");
    auto loan = publisher->loan_uninit_for(1s);  // not initialised: read(2) overwrites it anyway
    if (!loan) {
      failed("waiting", loan.error(), publisher->blocked_by());
      if (loan.error() == quoit::errc::timed_out) continue;  // it may be stopped: it is not thrown out
      return 1;
    }
    part& p = **loan;
    const ssize_t got = ::read(file, p.data, sizeof p.data);
    if (got < 0) return std::perror(path), 1;  // the loan is abandoned: nobody sees it
    spent.call();
    if (got > 0) spent.copy(static_cast<std::uint64_t>(got));
    p.file_bytes = static_cast<std::uint64_t>(status.st_size);
    p.offset = sent;
    p.bytes = static_cast<std::uint64_t>(got);
    std::move(*loan).publish();
    spent.message(static_cast<std::uint64_t>(got));
    sent += static_cast<std::uint64_t>(got);
    end = got == 0;
    report.show(sent);
  }
  // On the kernel path it is not out of our hands yet.
  while (!publisher->flush_for(1s)) {
    if (stop_wanted) return failed("interrupted: the file is not whole");
  }
  report.print("sent", sent);
  spent.print("publisher");
}
