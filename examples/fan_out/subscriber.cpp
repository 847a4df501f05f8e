// Counts what it received and what it lost: together they are everything.
#include <quoit.hpp>

#include "../common/waiting.hpp"
#include "tally.hpp"

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "display"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<reading>("plant/readings", {.samples_max = 1});
  if (!subscriber) return failed("opening the topic", subscriber.error());

  tally all;
  while (!all.last) {
    const auto sample = next_of(*subscriber, all.begun ? 1 : 0);
    if (sample) {
      if (!all.add(**sample)) return failed("a reading is missing, or there are two publishers");
      continue;
    }
    const quoit::errc why = sample.error().code();
    if (why == quoit::errc::cancelled || why == quoit::errc::timed_out) break;  // Ctrl-C; it was stopped, or killed
    if (why != quoit::errc::lagged) return failed("receiving", sample.error());
    all.lose(sample.error().value());
  }
  all.print();
}
