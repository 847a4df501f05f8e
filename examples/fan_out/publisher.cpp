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
  auto publisher = bus->publisher<reading>("plant/readings", {.policy = quoit::policy::overwrite, .strides = 64});
  if (!publisher) return failed("opening the topic", publisher.error());
  while (publisher->subscribers() < args.number("--subscribers", 2) && !stop_wanted) std::this_thread::sleep_for(10ms);

  // Subscribers hold a sample at a time: 64 strides are enough for 15 of them, whatever they do.
  if (!publisher->never_refuses()) std::fprintf(stderr, "warning: more subscribers than the ring has strides for\n");

  const auto count = static_cast<std::uint64_t>(args.number("--count", 1'000'000));
  std::uint64_t i = 0;
  for (; i < count && !stop_wanted; ++i) {
    const reading r{0, i + 1 == count, i, static_cast<double>(i) * 0.5};
    if (auto ok = publisher->publish(r); !ok) return failed("publishing", ok.error(), publisher->blocked_by());
  }
  std::printf("published %llu readings\n", static_cast<unsigned long long>(i));
}
