// Counts what it received and what it lost: together they are everything.
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "tally.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "display"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<reading>("plant/readings", {.samples_max = 1});
  if (!subscriber) return failed("opening the topic", subscriber.error());

  tally all;
  while (!all.last && !stop_wanted) {
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() == quoit::errc::timed_out) {
        if (all.begun && subscriber->publishers() == 0) break;  // it was stopped, or killed
        continue;
      }
      if (sample.error() != quoit::errc::lagged) return failed("receiving", sample.error());
      all.lose(sample.error().value());
      continue;
    }
    if (!all.add(**sample)) return failed("a reading is missing, or there are two publishers");
  }
  all.print();
}
