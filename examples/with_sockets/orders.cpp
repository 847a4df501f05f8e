// Prints the orders of all clients, until Ctrl-C or --count is reached.
#include <quoit.hpp>

#include "../common/coroutines.hpp"

namespace {

quoit::task<int> print(quoit::subscriber<quoit::text>& subscriber, long count) {
  for (long received = 0; received != count; ++received) {
    const auto order = co_await subscriber.next();
    if (!order && order.error() == quoit::errc::cancelled) break;
    if (!order) co_return failed("receiving", order.error());
    std::printf("%.*s\n", static_cast<int>((**order).size()), (**order).data());
  }
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--count N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "orders"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quoit::text>("market/orders");
  if (!subscriber) return failed("opening the topic", subscriber.error());
  return executor->run(print(*subscriber, args.number("--count", -1)));
}
