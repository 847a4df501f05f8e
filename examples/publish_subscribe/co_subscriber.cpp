// subscriber.cpp as a coroutine: it is suspended until there is a quote, and Ctrl-C ends that at once.
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "../common/cost.hpp"
#include "quote.hpp"

namespace {

quoit::task<int> print(quoit::subscriber<quote>& subscriber, long count) {
  cost spent;
  for (long received = 0; received != count;) {
    const auto sample = co_await subscriber.next();
    if (!sample) {
      if (sample.error() == quoit::errc::cancelled) break;  // Ctrl-C
      if (sample.error() == quoit::errc::lagged) {
        std::printf("lost %llu quotes\n", static_cast<unsigned long long>(sample.error().value()));
        continue;
      }
      co_return failed("receiving", sample.error());
    }
    // The quote is read where the publisher wrote it.
    const quote& q = **sample;
    std::printf("%6llu  %.11s  %.2f / %.2f  %u\n", static_cast<unsigned long long>(sample->sequence()), q.symbol, q.bid,
                q.ask, q.size);
    if (received++ == 0) spent.first();
    spent.message(sizeof q);
  }
  spent.print("subscriber");
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--transport shared_memory|kernel|automatic] [--count N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "subscriber", .transport = args.transport()});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quote>("market/quotes");
  if (!subscriber) return failed("opening the topic", subscriber.error());
  print_transport(subscriber->transport());
  return executor->run(print(*subscriber, args.number("--count", -1)));
}
