// Reads stanzas in place and adds up what they say.
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "stanzas.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "packages"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quoit::text>("packages");
  if (!subscriber) return failed("opening the topic", subscriber.error());

  totals all;
  while (!stop_wanted) {
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() != quoit::errc::timed_out) return failed("receiving", sample.error());
      // Once it has begun, silence and no publisher mean that it died in the middle.
      if (all.stanzas > 0 && subscriber->publishers() == 0) return failed("the publisher is gone");
      continue;
    }
    const std::string_view stanza = **sample;
    if (stanza.empty()) break;
    all.add(stanza);
  }
  all.print();
}
