// Publishes on every topic: a hundred events on each tenth, and one on the others.
#include <quoit.hpp>
#include <vector>

#include "../common/coroutines.hpp"
#include "event.hpp"

namespace {

// One of these for each topic. A ring of 4 KiB does not hold a hundred events: it waits for the subscriber then.
quoit::task<> publish(quoit::publisher<event>& publisher, std::uint32_t topic, std::uint64_t count, int& status) {
  for (std::uint64_t number = 0; number < count; ++number) {
    auto loan = co_await publisher.loan();
    if (!loan) {
      if (status == 0) status = failed("publishing", loan.error(), publisher.blocked_by());
      co_return;
    }
    **loan = event{topic, number + 1 == count, number};
    std::move(*loan).publish();
  }
}

quoit::task<int> publish_all(std::vector<quoit::publisher<event>>& publishers, quoit::subscriber<event>& start) {
  const auto started = co_await start.next();
  if (!started) co_return failed("waiting", started.error());
  int status = 0;
  std::uint64_t published = 0;
  quoit::scope tasks;
  for (std::size_t i = 0; i < publishers.size(); ++i) {
    const std::uint64_t count = i % 10 == 0 ? 100 : 1;
    published += count;
    tasks.spawn(publish(publishers[i], static_cast<std::uint32_t>(i), count, status));
  }
  co_await tasks.join();
  if (status == 0) {
    std::printf("published %llu events on %zu topics\n", static_cast<unsigned long long>(published), publishers.size());
  }
  co_return status;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--topics N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "publisher"});
  if (!bus) return failed("opening the bus", bus.error());
  std::vector<quoit::publisher<event>> publishers;
  const auto topics = static_cast<std::size_t>(args.number("--topics", topics_default));
  for (std::size_t i = 0; i < topics; ++i) {
    auto publisher = bus->publisher<event>(topic_name(i), {.capacity_bytes = 4096, .limits = limits});
    if (!publisher) return failed("opening a topic", publisher.error());
    publishers.push_back(std::move(*publisher));
  }
  auto start = bus->subscriber<event>(start_topic, {.limits = limits});
  if (!start) return failed("opening a topic", start.error());
  return executor->run(publish_all(publishers, *start));
}
