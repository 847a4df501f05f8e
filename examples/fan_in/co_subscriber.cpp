// subscriber.cpp as a coroutine.
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "collected.hpp"

namespace {

quoit::task<int> collect(quoit::subscriber<reading>& subscriber, std::size_t wanted) {
  collected all;
  while (all.finished < wanted) {
    // Who began and is not there any more will not end.
    const auto sample = co_await next_of(subscriber, all.unfinished());
    if (!sample && sample.error() == quoit::errc::timed_out) co_return failed("a publisher is gone before its end");
    if (!sample) co_return failed("receiving", sample.error());
    if (!all.add(**sample)) co_return failed("a reading is missing, or two publishers have one number");
  }
  all.print();
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--publishers N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "collector"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<reading>("sensors/readings");
  if (!subscriber) return failed("opening the topic", subscriber.error());
  return executor->run(collect(*subscriber, static_cast<std::size_t>(args.number("--publishers", 3))));
}
