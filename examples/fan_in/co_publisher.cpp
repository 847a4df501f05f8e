// publisher.cpp as a coroutine.
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "reading.hpp"

namespace {

quoit::task<int> publish(quoit::publisher<reading>& publisher, std::uint32_t source, std::uint64_t count) {
  const auto matched = co_await publisher.matched(1);
  if (!matched) co_return failed("waiting", matched.error());
  for (std::uint64_t i = 0; i < count; ++i) {
    // There is no limit to the wait, as Ctrl-C ends it: then this answers `cancelled`.
    auto loan = co_await publisher.loan();
    if (!loan) co_return failed("publishing", loan.error(), publisher.blocked_by());
    **loan = reading{source, i + 1 == count, i, static_cast<double>(i) * 0.5};
    std::move(*loan).publish();
    // Where there is space, nothing is waited for: so that others have their turn too, and Ctrl-C is noticed.
    if (i % 64 == 63) co_await quoit::this_task::yield();
  }
  std::printf("source %u published %llu readings\n", source, static_cast<unsigned long long>(count));
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--source N] [--count N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "sensor"});
  if (!bus) return failed("opening the bus", bus.error());
  auto publisher = bus->publisher<reading>("sensors/readings");
  if (!publisher) return failed("opening the topic", publisher.error());
  return executor->run(publish(*publisher, static_cast<std::uint32_t>(args.number("--source", 0)),
                               static_cast<std::uint64_t>(args.number("--count", 100'000))));
}
