// A publisher and a subscriber in one io_context of Asio, as coroutines of Asio, on one thread. No executor of quoit.
//
// The ring of the publisher is small: it has to wait for the subscriber again and again, which could not run if that
// blocked the thread.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "asio_ready.hpp"

namespace asio = boost::asio;

namespace {

struct reading {
  std::uint64_t number;
  double value;
};
QUOIT_FIELDS(reading, number, value)

struct totals {
  long received = 0;
  long in_order = 0;
  long waits_for_space = 0;
  long ticks = 0;
  bool failed = false;
};

asio::awaitable<void> publish(asio::io_context& loop, quoit::publisher<reading>& publisher, int fd, long count,
                              totals& all) {
  ready space(loop, fd);
  for (long i = 0; i < count;) {
    auto loan = publisher.try_loan();
    if (!loan && loan.error() == quoit::errc::would_block) {
      // The subscriber has not read what is there: others have their turn until it has.
      ++all.waits_for_space;
      co_await space.wait();
      continue;
    }
    if (!loan) {
      failed("publishing", loan.error());
      all.failed = true;
      loop.stop();
      co_return;
    }
    (*loan)->number = static_cast<std::uint64_t>(i);
    (*loan)->value = 0.5 * static_cast<double>(i);
    std::move(*loan).publish();
    ++i;
  }
}

asio::awaitable<void> receive(asio::io_context& loop, quoit::subscriber<reading>& subscriber, int fd, long count,
                              totals& all) {
  ready messages(loop, fd);
  while (all.received < count) {
    auto sample = subscriber.poll();
    if (!sample) {
      failed("receiving", sample.error());
      all.failed = true;
      break;
    }
    if (*sample) {
      if ((*sample)->number == static_cast<std::uint64_t>(all.received)) ++all.in_order;
      ++all.received;
      continue;
    }
    co_await messages.wait();
  }
  loop.stop();
}

asio::awaitable<void> tick(asio::io_context& loop, totals& all) {
  asio::steady_timer timer(loop);
  for (;; ++all.ticks) {
    timer.expires_after(std::chrono::milliseconds(1));
    co_await timer.async_wait(asio::use_awaitable);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--count N]");
  const long count = args.number("--count", 200000);

  auto bus = quoit::bus::open(args.bus(), {.node_name = "with_asio"});
  if (!bus) return failed("opening the bus", bus.error());
  auto publisher = bus->publisher<reading>("readings", {.capacity_bytes = 4096});
  if (!publisher) return failed("opening the topic", publisher.error());
  auto subscriber = bus->subscriber<reading>("readings");
  if (!subscriber) return failed("opening the topic", subscriber.error());
  const auto space = publisher->fd(), messages = subscriber->fd();
  if (!space) return failed("making a descriptor", space.error());
  if (!messages) return failed("making a descriptor", messages.error());

  totals all;
  {
    // Its coroutines go with it, and so before the endpoints.
    asio::io_context loop(1);
    asio::co_spawn(loop, publish(loop, *publisher, *space, count, all), asio::detached);
    asio::co_spawn(loop, receive(loop, *subscriber, *messages, count, all), asio::detached);
    asio::co_spawn(loop, tick(loop, all), asio::detached);
    loop.run();
  }
  std::printf("%ld readings published and received, %ld in order; %s for space; a timer beside them %s\n", all.received,
              all.in_order, all.waits_for_space > 0 ? "waited" : "never waited",
              all.ticks > 0 ? "ticked" : "had no time to");
  return all.failed ? 1 : 0;
}
