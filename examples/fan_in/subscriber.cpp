// Collects the readings of --publishers sensors and checks that each one's come complete and in order.
#include <map>
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "reading.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--publishers N]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "collector"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<reading>("sensors/readings");
  if (!subscriber) return failed("opening the topic", subscriber.error());

  std::map<std::uint32_t, std::uint64_t> next;  // of each source
  std::size_t finished = 0;
  const auto wanted = static_cast<std::size_t>(args.number("--publishers", 3));
  while (finished < wanted && !stop_wanted) {
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() != quoit::errc::timed_out) return failed("receiving", sample.error());
      // All that was published is read: who began and is not there any more will not end.
      if (next.size() - finished > subscriber->publishers()) return failed("a publisher is gone before its end");
      continue;
    }
    const reading& r = **sample;
    // Each publisher's messages come in its order; between publishers there is none.
    if (r.number != next[r.source]++) return failed("a reading is missing, or two publishers have one number");
    finished += r.last != 0;
  }
  for (const auto& [source, count] : next) {
    std::printf("source %u: %llu readings, complete and in order\n", source, static_cast<unsigned long long>(count));
  }
}
