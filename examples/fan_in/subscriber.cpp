// Collects the readings of --publishers sensors and checks that each one's come complete and in order.
#include <quoit.hpp>

#include "../common/waiting.hpp"
#include "collected.hpp"

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--publishers N]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "collector"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<reading>("sensors/readings");
  if (!subscriber) return failed("opening the topic", subscriber.error());

  collected all;
  const auto wanted = static_cast<std::size_t>(args.number("--publishers", 3));
  while (all.finished < wanted) {
    // All that was published is read: who began and is not there any more will not end.
    const auto sample = next_of(*subscriber, all.unfinished());
    if (!sample) {
      if (sample.error() == quoit::errc::cancelled) break;  // Ctrl-C
      if (sample.error() == quoit::errc::timed_out) return failed("a publisher is gone before its end");
      return failed("receiving", sample.error());
    }
    if (!all.add(**sample)) return failed("a reading is missing, or two publishers have one number");
  }
  all.print();
}
