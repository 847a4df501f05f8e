// What a user's program does with an installed quoit. It is built by install_test.py, outside of this tree's build.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <quoit.hpp>
#include <string>

struct quote {
  double bid;
  double ask;
};
QUOIT_FIELDS(quote, bid, ask)

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
  if (!publisher.publish({99.5, 99.7})) return 1;
  const auto sample = subscriber.wait(std::chrono::seconds(10)).value();
  std::printf("%g %g\n", sample->bid, sample->ask);
  return sample->bid == 99.5 ? 0 : 1;
}
