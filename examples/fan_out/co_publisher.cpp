// publisher.cpp as a coroutine: it never waits for a subscriber, so that it has to say itself when others may run.
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "reading.hpp"

namespace {

quoit::task<int> publish(quoit::publisher<reading>& publisher, std::uint32_t subscribers, std::uint64_t count) {
  const auto matched = co_await publisher.matched(subscribers);
  if (!matched) co_return failed("waiting", matched.error());
  // Subscribers hold a sample at a time: 64 strides are enough for 15 of them, whatever they do.
  if (!publisher.never_refuses()) std::fprintf(stderr, "warning: more subscribers than the ring has strides for\n");

  const quoit::stop_token stop = co_await quoit::this_task::stop_token();
  std::uint64_t i = 0;
  for (; i < count && !stop.stop_requested(); ++i) {
    auto loan = co_await publisher.loan();  // under policy overwrite there is one
    if (!loan) co_return failed("publishing", loan.error(), publisher.blocked_by());
    **loan = reading{0, i + 1 == count, i, static_cast<double>(i) * 0.5};
    std::move(*loan).publish();
    // What is there need not be waited for: without this, Ctrl-C would not be noticed either.
    if (i % 64 == 63) co_await quoit::this_task::yield();
  }
  std::printf("published %llu readings\n", static_cast<unsigned long long>(i));
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--subscribers N] [--count N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "source"});
  if (!bus) return failed("opening the bus", bus.error());
  // A subscriber that is too slow is not waited for; it is told how much it lost.
  auto publisher = bus->publisher<reading>("plant/readings", {.policy = quoit::policy::overwrite, .strides = 64});
  if (!publisher) return failed("opening the topic", publisher.error());
  return executor->run(publish(*publisher, static_cast<std::uint32_t>(args.number("--subscribers", 2)),
                               static_cast<std::uint64_t>(args.number("--count", 1'000'000))));
}
