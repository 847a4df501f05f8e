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
  auto subscriber = bus->subscriber<reading>("plant/readings");
  if (!subscriber) return failed("opening the topic", subscriber.error());

  unsigned long long received = 0, lost = 0;
  std::uint64_t expected = 0;
  bool last = false;
  while (!last && !stop_wanted) {
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() == quoit::errc::timed_out) continue;
      if (sample.error() != quoit::errc::lagged) return failed("receiving", sample.error());
      lost += sample.error().value();
      expected += sample.error().value();
      continue;
    }
    if ((*sample)->number != expected++) return std::fprintf(stderr, "a reading is missing\n"), 1;
    ++received;
    last = (*sample)->last != 0;
  }
  std::printf("received %llu, lost %llu, together %llu\n", received, lost, received + lost);
}
