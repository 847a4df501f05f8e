// A whole executor in an io_context of Asio: tasks of quoit, with their topics and timers, beside coroutines of Asio.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "../publish_subscribe/quote.hpp"
#include "asio_ready.hpp"

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

// Tasks of quoit: they know nothing of Asio.
quoit::task<> count_quotes(quoit::executor& executor, quoit::subscriber<quote>& quotes, long count, long& received) {
  for (; received != count; ++received) {
    const auto sample = co_await quotes.next();
    if (sample) continue;
    failed("receiving", sample.error());
    break;
  }
  executor.request_stop();
}

quoit::task<> tick(long& ticks) {
  for (;; ++ticks) {
    const auto slept = co_await quoit::sleep_for(20ms);
    if (!slept) co_return;  // asked to stop
  }
}

// A coroutine of Asio that runs them all, until none is left.
asio::awaitable<void> drive(asio::io_context& loop, quoit::executor& executor, int fd) {
  ready work(loop, fd);
  while (executor.poll()) co_await work.wait();
  loop.stop();
}

asio::awaitable<void> tick_in_asio(asio::io_context& loop, long& ticks) {
  asio::steady_timer timer(loop);
  for (;; ++ticks) {
    timer.expires_after(20ms);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--count N]");
  const long count = args.number("--count", 40);

  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "executor_in_asio"});
  if (!bus) return failed("opening the bus", bus.error());
  auto quotes = bus->subscriber<quote>("market/quotes");
  if (!quotes) return failed("opening the topic", quotes.error());
  const auto descriptor = executor->fd();
  if (!descriptor) return failed("making a descriptor", descriptor.error());

  long received = 0, ticks = 0, ticks_in_asio = 0;
  executor->spawn(count_quotes(*executor, *quotes, count, received));
  executor->spawn(tick(ticks));
  {
    asio::io_context loop(1);
    asio::co_spawn(loop, drive(loop, *executor, *descriptor), asio::detached);
    asio::co_spawn(loop, tick_in_asio(loop, ticks_in_asio), asio::detached);
    loop.run();
  }
  std::printf("%ld quotes; a timer of quoit %s, and one of Asio %s\n", received,
              ticks > 0 ? "ticked" : "had no time to", ticks_in_asio > 0 ? "ticked" : "had no time to");
  return received == count ? 0 : 1;
}
