// Awaits thousands of topics in one thread, each in a coroutine of its own.
#include <sys/resource.h>

#include <quoit.hpp>
#include <vector>

#include "../common/coroutines.hpp"
#include "event.hpp"

using namespace std::chrono_literals;

namespace {

struct state {
  std::uint64_t received = 0;
  std::size_t finished = 0;
  std::size_t failed = 0;
};

double cpu_ms() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

// One of these for each topic: its events, in order, to the last.
quoit::task<> watch(quoit::subscriber<event>& subscriber, std::size_t topic, state& s) {
  for (std::uint64_t number = 0;; ++number) {
    const auto sample = co_await subscriber.next();
    if (!sample && sample.error() == quoit::errc::cancelled) co_return;
    const bool right = sample && (*sample)->topic == topic && (*sample)->number == number;
    if (!right) {
      ++s.failed;
      co_return;
    }
    ++s.received;
    if ((*sample)->last == 0) continue;
    ++s.finished;
    co_return;
  }
}

// Does nothing for a while, and says what that costs.
quoit::task<quoit::result<void>> idle(quoit::executor& executor, std::chrono::milliseconds time, std::size_t topics) {
  const double cpu = cpu_ms();
  const std::uint64_t sleeps = executor.sleeps();
  const auto slept = co_await quoit::sleep_for(time);
  if (!slept) co_return slept;
  std::printf("%zu topics awaited, nothing to do for %lld ms: %.1f ms of CPU, woken %llu times\n", topics,
              static_cast<long long>(time.count()), cpu_ms() - cpu,
              static_cast<unsigned long long>(executor.sleeps() - sleeps));
  co_return slept;
}

// Has the publisher begin, and is over when all tasks are. Errors: closed, if the publisher is gone before; cancelled.
quoit::task<quoit::result<void>> run(const quoit::scope& tasks, const state& s, quoit::publisher<event>& start) {
  auto published = start.publish(event{});
  if (!published) co_return published;
  while (tasks.running() > 0) {
    const std::uint64_t received = s.received;
    const bool gone = start.subscribers() == 0;
    const auto slept = co_await quoit::sleep_for(50ms);
    if (!slept) co_return slept;
    if (gone && s.received == received && tasks.running() > 0)
      co_return tl::unexpected(quoit::error(quoit::errc::closed, "the publisher is gone before its end"));
  }
  co_return quoit::result<void>();
}

quoit::task<int> watch_all(quoit::executor& executor, quoit::publisher<event>& start,
                           std::vector<quoit::subscriber<event>>& subscribers, std::chrono::milliseconds idle_time) {
  state s;
  quoit::scope tasks;
  for (std::size_t i = 0; i < subscribers.size(); ++i) tasks.spawn(watch(subscribers[i], i, s));
  auto ok = co_await start.matched(1);  // then all publishers are there
  if (ok) ok = co_await idle(executor, idle_time, subscribers.size());
  const double cpu = cpu_ms();
  if (ok) ok = co_await run(tasks, s, start);
  tasks.request_stop();
  co_await tasks.join();
  if (!ok) co_return failed("waiting", ok.error());
  if (s.failed > 0) co_return failed("an event is missing, or came to another topic's coroutine");
  std::printf("%zu topics had their events, %llu together: %.1f ms of CPU\n", s.finished,
              static_cast<unsigned long long>(s.received), cpu_ms() - cpu);
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--topics N] [--idle-ms N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "subscriber"});
  if (!bus) return failed("opening the bus", bus.error());
  std::vector<quoit::subscriber<event>> subscribers;
  const auto topics = static_cast<std::size_t>(args.number("--topics", topics_default));
  for (std::size_t i = 0; i < topics; ++i) {
    auto subscriber = bus->subscriber<event>(topic_name(i), {.limits = limits});
    if (!subscriber) return failed("opening a topic", subscriber.error());
    subscribers.push_back(std::move(*subscriber));
  }
  auto start = bus->publisher<event>(start_topic, {.capacity_bytes = 4096, .limits = limits});
  if (!start) return failed("opening a topic", start.error());
  return executor->run(
      watch_all(*executor, *start, subscribers, std::chrono::milliseconds(args.number("--idle-ms", 1000))));
}
