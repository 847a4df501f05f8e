// Publishes quotes, ten a second, until Ctrl-C or --count is reached.
#include <cstring>
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "../common/cost.hpp"
#include "quote.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(
      argc, argv,
      "[--bus NAME] [--transport shared_memory|kernel|automatic] [--count N] [--interval-ms N] [--subscribers N]");
  stop_on_ctrl_c();

  auto bus = quoit::bus::open(args.bus(), {.node_name = "publisher", .transport = args.transport()});
  if (!bus) return failed("opening the bus", bus.error());
  auto publisher = bus->publisher<quote>("market/quotes");
  if (!publisher) return failed("opening the topic", publisher.error());
  print_transport(publisher->transport());

  // A subscriber gets what is published after it came. Who needs to be heard from the first word on waits.
  while (publisher->subscribers() < args.number("--subscribers", 0) && !stop_wanted) std::this_thread::sleep_for(10ms);

  cost spent;
  const long count = args.number("--count", -1);
  const std::chrono::milliseconds interval(args.number("--interval-ms", 100));
  for (long i = 0; i != count && !stop_wanted;) {
    auto loan = publisher->loan_for(1s);  // a quote in shared memory
    if (!loan) {
      failed("waiting", loan.error(), publisher->blocked_by());
      if (loan.error() == quoit::errc::timed_out) continue;  // somebody does not read: try again
      return 1;
    }
    (*loan)->bid = 99.5 + 0.01 * static_cast<double>(i % 10);
    (*loan)->ask = (*loan)->bid + 0.02;
    (*loan)->size = static_cast<std::uint32_t>(100 + i);
    std::strcpy((*loan)->symbol, "QUOIT");
    std::move(*loan).publish();  // cannot fail
    spent.message(sizeof(quote));
    ++i;
    std::this_thread::sleep_for(interval);
    spent.call();
  }
  std::printf("published %llu quotes\n", static_cast<unsigned long long>(publisher->sequence()));
  if (auto ok = publisher->flush_for(1s); !ok) failed("what was published last may be lost", ok.error());
  spent.print("publisher");
}
