// publisher.cpp as a coroutine: where that one blocks its thread, this one leaves it to others.
#include <cstring>
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "../common/cost.hpp"
#include "quote.hpp"

using namespace std::chrono_literals;

namespace {

quoit::task<int> publish(quoit::publisher<quote>& publisher, const arguments& args) {
  // A subscriber gets what is published after it came. Who needs to be heard from the first word on waits.
  const auto matched = co_await publisher.matched(static_cast<std::uint32_t>(args.number("--subscribers", 0)));
  if (!matched && matched.error() != quoit::errc::cancelled) co_return failed("waiting", matched.error());

  cost spent;
  const long count = args.number("--count", -1);
  const std::chrono::milliseconds interval(args.number("--interval-ms", 100));
  for (long i = 0; i != count;) {
    auto loan = co_await quoit::timeout(1s, publisher.loan());  // a quote in shared memory
    if (!loan) {
      if (loan.error() == quoit::errc::cancelled) break;  // Ctrl-C
      failed("waiting", loan.error(), publisher.blocked_by());
      if (loan.error() == quoit::errc::timed_out) continue;  // somebody does not read: try again
      co_return 1;
    }
    (*loan)->bid = 99.5 + 0.01 * static_cast<double>(i % 10);
    (*loan)->ask = (*loan)->bid + 0.02;
    (*loan)->size = static_cast<std::uint32_t>(100 + i);
    std::strcpy((*loan)->symbol, "QUOIT");
    std::move(*loan).publish();  // cannot fail
    spent.message(sizeof(quote));
    ++i;
    const auto slept = co_await quoit::sleep_for(interval);
    if (!slept) break;
  }
  std::printf("published %llu quotes\n", static_cast<unsigned long long>(publisher.sequence()));
  const auto flushed = co_await quoit::timeout(1s, publisher.flush());
  if (!flushed) failed("what was published last may be lost", flushed.error());
  spent.print("publisher");
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(
      argc, argv,
      "[--bus NAME] [--transport shared_memory|kernel|automatic] [--count N] [--interval-ms N] [--subscribers N]");
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "publisher", .transport = args.transport()});
  if (!bus) return failed("opening the bus", bus.error());
  auto publisher = bus->publisher<quote>("market/quotes");
  if (!publisher) return failed("opening the topic", publisher.error());
  print_transport(publisher->transport());
  return executor->run(publish(*publisher, args));
}
