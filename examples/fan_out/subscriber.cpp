// Counts what it received and what it lost: together they are everything.
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "reading.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "display"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<reading>("plant/readings", {.samples_max = 1});
  if (!subscriber) return failed("opening the topic", subscriber.error());

  unsigned long long received = 0, lost = 0;
  std::uint64_t expected = 0;
  bool begun = false, last = false;
  while (!last && !stop_wanted) {
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() == quoit::errc::timed_out) {
        if (begun && subscriber->publishers() == 0) break;  // it was stopped, or killed
        continue;
      }
      if (sample.error() != quoit::errc::lagged) return failed("receiving", sample.error());
      lost += sample.error().value();  // exactly so many
      expected += sample.error().value();
      continue;
    }
    // Who comes late begins with what is published then.
    if (begun && (*sample)->number != expected) return failed("a reading is missing, or there are two publishers");
    begun = true;
    expected = (*sample)->number + 1;
    ++received;
    last = (*sample)->last != 0;
  }
  std::printf("received %llu, lost %llu, together %llu\n", received, lost, received + lost);
}
