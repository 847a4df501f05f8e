// Reads stanzas in place and adds up what they say.
#include <quoit.hpp>

#include "../common/waiting.hpp"
#include "stanzas.hpp"

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "packages"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quoit::text>("packages");
  if (!subscriber) return failed("opening the topic", subscriber.error());

  totals all;
  for (;;) {
    // Once it has begun, silence and no publisher mean that it died in the middle.
    const auto sample = next_of(*subscriber, all.stanzas > 0 ? 1 : 0);
    if (!sample) {
      if (sample.error() == quoit::errc::cancelled) break;  // Ctrl-C
      if (sample.error() == quoit::errc::timed_out) return failed("the publisher is gone");
      return failed("receiving", sample.error());
    }
    const std::string_view stanza = **sample;
    if (stanza.empty()) break;
    all.add(stanza);
  }
  all.print();
}
