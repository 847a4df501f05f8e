// subscriber.cpp as a coroutine.
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "tally.hpp"

namespace {

quoit::task<int> display(quoit::subscriber<reading>& subscriber) {
  tally all;
  while (!all.last) {
    const auto sample = co_await next_of(subscriber, all.begun ? 1 : 0);
    if (sample) {
      if (!all.add(**sample)) co_return failed("a reading is missing, or there are two publishers");
      continue;
    }
    const quoit::errc why = sample.error().code();
    if (why == quoit::errc::cancelled || why == quoit::errc::timed_out) break;  // Ctrl-C; it was stopped, or killed
    if (why != quoit::errc::lagged) co_return failed("receiving", sample.error());
    all.lose(sample.error().value());
  }
  all.print();
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "display"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<reading>("plant/readings", {.samples_max = 1});
  if (!subscriber) return failed("opening the topic", subscriber.error());
  return executor->run(display(*subscriber));
}
