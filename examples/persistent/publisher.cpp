// Publishes readings that are kept in a directory. Run again, it goes on behind what it published before.
#include <cmath>
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "reading.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--name PUBLISHER] [--count N] [--interval-ms N] DIRECTORY");
  if (args.rest.size() != 1) args.fail();
  stop_on_ctrl_c();

  auto bus = quoit::bus::open(args.bus(), {.node_name = "persistent publisher"});
  if (!bus) return failed("opening the bus", bus.error());
  const std::string name = args.text("--name", "sensor");
  auto publisher = bus->publisher<reading>("cellar/temperature", {.directory = args.rest[0], .publisher_name = name});
  if (!publisher) return failed("opening the topic", publisher.error());
  const std::uint64_t begin = publisher->sequence();
  std::printf("%s goes on at %llu\n", name.c_str(), static_cast<unsigned long long>(begin));

  const long count = args.number("--count", -1);
  const std::chrono::milliseconds interval(args.number("--interval-ms", 100));
  for (long i = 0; i != count && !stop_wanted;) {
    const std::uint64_t number = publisher->sequence();
    auto loan = publisher->loan_for(1s);  // in the file, mapped
    if (!loan) {
      failed("keeping a reading", loan.error());
      // A full disk: everything that is there stays, and room may be made.
      if (loan.error() == quoit::errc::no_space || loan.error() == quoit::errc::timed_out) continue;
      return 1;
    }
    (*loan)->number = number;
    (*loan)->celsius = 12 + std::sin(0.1 * static_cast<double>(number));
    std::move(*loan).publish();  // from here on it outlives this process
    ++i;
    std::this_thread::sleep_for(interval);
  }
  // And from here on the machine.
  if (auto ok = publisher->flush_for(10s); !ok) return failed("writing back", ok.error());
  std::printf("published %llu readings, %llu in all\n", static_cast<unsigned long long>(publisher->sequence() - begin),
              static_cast<unsigned long long>(publisher->sequence()));
}
