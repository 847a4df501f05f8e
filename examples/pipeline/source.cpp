// The beginning: makes --count blocks, as fast as the stage takes them.
#include <quoit.hpp>

#include "stream.hpp"

namespace {

quoit::task<int> make(quoit::publisher<block>& publisher, std::uint64_t count) {
  const auto matched = co_await publisher.matched(1);
  if (!matched) co_return failed("waiting", matched.error());
  meter m;
  for (std::uint64_t number = 0; number <= count; ++number) {
    auto loan = co_await room(publisher, m);
    if (!loan) co_return failed("publishing", loan.error());
    block& b = **loan;
    b.number = number;
    b.used = number < count ? std::size(b.words) : 0;  // an empty one ends the stream
    for (std::size_t i = 0; i < b.used; ++i) b.words[i] = raw(number, i);
    if (b.used > 0) m.count(b);
    std::move(*loan).publish();
    // Where there is room, nothing is waited for: so that others have their turn too, and Ctrl-C is noticed.
    if (number % 64 == 63) co_await quoit::this_task::yield();
  }
  m.print("source");
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--count N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "source"});
  if (!bus) return failed("opening the bus", bus.error());
  auto publisher = bus->publisher<block>(raw_topic, {.policy = quoit::policy::block, .capacity_bytes = ring_bytes});
  if (!publisher) return failed("opening the topic", publisher.error());
  return executor->run(make(*publisher, static_cast<std::uint64_t>(args.number("--count", 100'000))));
}
