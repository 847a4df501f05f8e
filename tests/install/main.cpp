// What a user's program does with an installed quoit. It is built by install_test.py, outside of this tree's build.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <quoit.hpp>
#include <string>

struct quote {
  std::int64_t bid;  // in ticks
  std::int64_t ask;
};
QUOIT_FIELDS(quote, bid, ask)

static quoit::task<bool> awaited(quoit::publisher<quote>& publisher, quoit::subscriber<quote>& subscriber) {
  auto loan = co_await publisher.loan();
  if (!loan) co_return false;
  (*loan)->bid = 15;
  std::move(*loan).publish();
  const auto late = co_await quoit::sleep_for(std::chrono::milliseconds(1));
  const auto sample = co_await subscriber.next();
  co_return late&& sample && (*sample)->bid == 15;
}

int main() {
  std::printf("quoit %d, headers %d\n", quoit::library_version(), QUOIT_VERSION);
  if (quoit::library_version() != QUOIT_VERSION) return 1;
  auto bus = quoit::bus::open("install-" + std::to_string(::getpid()));
  if (!bus) {
    std::printf("%s\n", bus.error().message().c_str());
    return 1;
  }
  auto publisher = bus->publisher<quote>("quotes").value();
  auto subscriber = bus->subscriber<quote>("quotes").value();
  if (!publisher.publish({995, 997})) return 1;
  const auto sample = subscriber.wait(std::chrono::seconds(10)).value();
  std::printf("%lld %lld\n", static_cast<long long>(sample->bid), static_cast<long long>(sample->ask));
  if (sample->bid != 995) return 1;
  auto executor = quoit::executor::create();
  if (!executor) {
    // A container may forbid io_uring: threads that wait need none.
    std::printf("%s\n", executor.error().message().c_str());
    return 0;
  }
  return executor->run(awaited(publisher, subscriber)) ? 0 : 1;
}
