// The end: checks that every block came, in order, and that the stage has worked on each word.
#include <quoit.hpp>

#include "stream.hpp"

namespace {

bool right(const block& b, std::uint64_t number) {
  if (b.number != number || b.used > std::size(b.words)) return false;
  for (std::size_t i = 0; i < b.used; ++i) {
    if (b.words[i] != mixed(raw(number, i))) return false;
  }
  return true;
}

quoit::task<int> check(quoit::subscriber<block>& subscriber, std::chrono::microseconds pause) {
  meter m;
  std::uint64_t number = 0;
  for (;; ++number) {
    const auto sample = co_await next(subscriber, number > 0);
    if (!sample) co_return failed("receiving", sample.error());
    const block& b = **sample;
    if (!right(b, number)) {
      std::fprintf(stderr, "block %llu is wrong, or missing: it says that it is %llu\n",
                   static_cast<unsigned long long>(number), static_cast<unsigned long long>(b.number));
      co_return 1;
    }
    if (b.used == 0) break;
    m.count(b);
    if (pause.count() == 0) continue;
    const auto slept = co_await quoit::sleep_for(pause);
    if (!slept) co_return failed("interrupted");
  }
  m.print("sink");
  std::printf("all %llu blocks came, in order\n", static_cast<unsigned long long>(number));
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--pause-us N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "sink"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<block>(mixed_topic, {.mode = quoit::mode::reliable});
  if (!subscriber) return failed("opening the topic", subscriber.error());
  return executor->run(check(*subscriber, std::chrono::microseconds(args.number("--pause-us", 0))));
}
