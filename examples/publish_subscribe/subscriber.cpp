// Prints quotes as they come, until Ctrl-C or --count is reached.
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "../common/cost.hpp"
#include "quote.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--transport shared_memory|kernel|automatic] [--count N]");
  stop_on_ctrl_c();

  auto bus = quoit::bus::open(args.bus(), {.node_name = "subscriber", .transport = args.transport()});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quote>("market/quotes");
  if (!subscriber) return failed("opening the topic", subscriber.error());
  print_transport(subscriber->transport());

  cost spent;
  const long count = args.number("--count", -1);
  for (long received = 0; received != count && !stop_wanted;) {
    auto sample = subscriber->wait(200ms);  // sleeps until there is one
    if (!sample) {
      if (sample.error() == quoit::errc::timed_out) continue;
      if (sample.error() == quoit::errc::lagged) {
        std::printf("lost %llu quotes\n", static_cast<unsigned long long>(sample.error().value()));
        continue;
      }
      return failed("receiving", sample.error());
    }
    // The quote is read where the publisher wrote it.
    const quote& q = **sample;
    std::printf("%6llu  %.11s  %.2f / %.2f  %u\n", static_cast<unsigned long long>(sample->sequence()), q.symbol, q.bid,
                q.ask, q.size);
    if (received++ == 0) spent.first();
    spent.message(sizeof q);
  }
  spent.print("subscriber");
}
