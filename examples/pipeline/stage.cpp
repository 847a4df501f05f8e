// The middle: reads a block where the source wrote it, and writes what it makes of it where the sink will read it.
#include <quoit.hpp>

#include "stream.hpp"

namespace {

quoit::task<int> mix(quoit::subscriber<block>& subscriber, quoit::publisher<block>& publisher) {
  // Until then the source fills its ring, and waits too.
  const auto matched = co_await publisher.matched(1);
  if (!matched) co_return failed("waiting", matched.error());
  meter m;
  for (std::uint64_t number = 0;; ++number) {
    const auto sample = co_await next(subscriber, number > 0);
    if (!sample) co_return failed("receiving", sample.error());
    // While this is waited for, the sample is held: that is how the source comes to wait for the sink.
    auto loan = co_await room(publisher, m);
    if (!loan) co_return failed("publishing", loan.error());
    const block& in = **sample;
    block& out = **loan;
    out.number = in.number;
    out.used = in.used;
    for (std::size_t i = 0; i < in.used; ++i) out.words[i] = mixed(in.words[i]);
    std::move(*loan).publish();
    if (in.used == 0) break;
    m.count(in);
  }
  m.print("stage");
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "stage"});
  if (!bus) return failed("opening the bus", bus.error());
  auto publisher = bus->publisher<block>(mixed_topic, {.policy = quoit::policy::block, .capacity_bytes = ring_bytes});
  if (!publisher) return failed("opening the topic", publisher.error());
  auto subscriber = bus->subscriber<block>(raw_topic, {.mode = quoit::mode::reliable});
  if (!subscriber) return failed("opening the topic", subscriber.error());
  return executor->run(mix(*subscriber, *publisher));
}
