// subscriber.cpp as a coroutine.
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "stanzas.hpp"

namespace {

quoit::task<int> read(quoit::subscriber<quoit::text>& subscriber) {
  totals all;
  for (;;) {
    // Once it has begun, silence and no publisher mean that it died in the middle.
    const auto sample = co_await next_of(subscriber, all.stanzas > 0 ? 1 : 0);
    if (!sample) {
      if (sample.error() == quoit::errc::cancelled) break;  // Ctrl-C
      if (sample.error() == quoit::errc::timed_out) co_return failed("the publisher is gone");
      co_return failed("receiving", sample.error());
    }
    const std::string_view stanza = **sample;
    if (stanza.empty()) break;
    all.add(stanza);
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

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "packages"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quoit::text>("packages");
  if (!subscriber) return failed("opening the topic", subscriber.error());
  return executor->run(read(*subscriber));
}
