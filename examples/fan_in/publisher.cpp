// One of several sensors: publishes --count readings under its --source number.
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "reading.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--source N] [--count N]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "sensor"});
  if (!bus) return failed("opening the bus", bus.error());
  auto publisher = bus->publisher<reading>("sensors/readings");
  if (!publisher) return failed("opening the topic", publisher.error());
  while (publisher->subscribers() == 0 && !stop_wanted) std::this_thread::sleep_for(10ms);

  const auto source = static_cast<std::uint32_t>(args.number("--source", 0));
  const auto count = static_cast<std::uint64_t>(args.number("--count", 100'000));
  for (std::uint64_t i = 0; i < count && !stop_wanted; ++i) {
    const reading r{source, i + 1 == count, i, static_cast<double>(i) * 0.5};
    if (auto ok = publisher->publish_for(r, 10s); !ok) return failed("publishing", ok.error(), publisher->blocked_by());
  }
  if (stop_wanted) return failed("interrupted");
  std::printf("source %u published %llu readings\n", source, static_cast<unsigned long long>(count));
}
