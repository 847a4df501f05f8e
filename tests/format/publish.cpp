// Publishes what format_test.py expects to read: publish BUS. Stays until its standard input ends.
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <quoit.hpp>
#include <string>

namespace {

struct reading {
  std::uint32_t number;
  std::uint16_t kind[2];
  double value;
};
QUOIT_FIELDS(reading, number, kind, value)

}  // namespace

int main(int, char** argv) {
  auto bus = quoit::bus::open(argv[1], {.node_name = "format test"}).value();
  auto fixed = bus.publisher<reading>("fixed/readings", {.capacity_bytes = 4096, .strides = 8}).value();
  for (std::uint32_t n = 0; n < 1000; ++n) {
    // Each tenth loan is abandoned.
    auto loan = fixed.try_loan().value();
    *loan = reading{n, {static_cast<std::uint16_t>(n % 7), 1}, n / 2.0};
    if (n % 10 != 9) std::move(loan).publish();
  }
  auto words = bus.publisher<quoit::text>("words", {.policy = quoit::policy::overwrite,
                                                    .capacity_bytes = 8192,
                                                    .alignment = 64,
                                                    .strides = 16,
                                                    .stamped = true})
                   .value();
  for (std::uint32_t n = 0; n < 300; ++n) {
    if (!words.publish(std::string(n % 200, static_cast<char>('a' + n % 26)))) return 1;
  }
  auto old = words.try_loan_bytes(10).value();  // hides what comes after it
  if (!words.publish("hidden")) return 1;
  auto subscriber = bus.subscriber<quoit::text>("words").value();
  std::printf("ready\n");
  std::fflush(stdout);
  char c;
  while (::read(STDIN_FILENO, &c, 1) > 0) {
  }
  return 0;
}
