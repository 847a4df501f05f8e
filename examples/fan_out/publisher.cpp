// Publishes --count readings to all subscribers at once, without waiting for any of them.
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "reading.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--subscribers N] [--count N]");
  stop_on_ctrl_c();
  auto bus = quoit::bus::open(args.bus(), {.node_name = "source"});
  if (!bus) return failed("opening the bus", bus.error());
  // A subscriber that is too slow is not waited for; it is told how much it lost.
  auto publisher = bus->publisher<reading>("plant/readings", {.policy = quoit::policy::overwrite, .strides = 32});
  if (!publisher) return failed("opening the topic", publisher.error());
  while (publisher->subscribers() < args.number("--subscribers", 2) && !stop_wanted) std::this_thread::sleep_for(10ms);

  const auto count = static_cast<std::uint64_t>(args.number("--count", 1'000'000));
  for (std::uint64_t i = 0; i < count && !stop_wanted; ++i) {
    const reading r{0, i + 1 == count, i, static_cast<double>(i) * 0.5};
    if (auto ok = publisher->publish(r); !ok) return failed("publishing", ok.error());
  }
  std::printf("published %llu readings\n", static_cast<unsigned long long>(count));
}
