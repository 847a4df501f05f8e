// Receives a file: write(2) takes it straight out of shared memory, from samples.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <quoit.hpp>

#include "../common/cost.hpp"
#include "../common/waiting.hpp"
#include "part.hpp"
#include "progress.hpp"

using namespace std::chrono_literals;

namespace {

bool write_all(int file, const std::byte* data, std::size_t bytes, cost& spent) {
  while (bytes > 0) {
    const ssize_t written = ::write(file, data, bytes);
    spent.call();
    if (written < 0) return false;
    spent.copy(static_cast<std::uint64_t>(written));
    data += written;
    bytes -= static_cast<std::size_t>(written);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--transport shared_memory|kernel|automatic] OUTPUT");
  if (args.rest.size() != 1) args.fail();
  stop_on_ctrl_c();
  const char* const path = args.rest[0].c_str();
  const int file = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return std::perror(path), 1;

  // A part takes some tens of microseconds, and the next one is waited for about as long: about what a wake costs.
  auto bus =
      quoit::bus::open(args.bus(), {.node_name = "file subscriber", .transport = args.transport(), .spin_max = 100us});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<part>("files/transfer", {.mode = quoit::mode::reliable});
  if (!subscriber) return failed("opening the topic", subscriber.error());
  print_transport(subscriber->transport());

  cost spent;
  std::optional<progress> report;  // since the first part
  std::uint64_t received = 0;
  for (;;) {
    // Once it has begun, silence and no publisher mean that it died in the middle.
    const auto sample = next_of(*subscriber, report ? 1 : 0);
    if (!sample) {
      if (sample.error() == quoit::errc::cancelled) return failed("interrupted: the file is not whole");
      if (sample.error() != quoit::errc::timed_out) return failed("receiving", sample.error());
      return failed("the publisher is gone, the file is not whole");
    }
    const part& p = **sample;
    if (!report) {
      report.emplace();
      spent.first();
    }
    spent.message(p.bytes);
    // Nothing is lost from here to the end; but we may have come in the middle, or two files are sent at once.
    if (p.offset != received || p.bytes > sizeof p.data) return failed("this is not the next part of the file");
    if (p.bytes == 0) {
      report->print("received", received);
      spent.print("subscriber");
      return ::close(file) == 0 ? 0 : (std::perror(path), 1);
    }
    if (!write_all(file, p.data, p.bytes, spent)) return std::perror(path), 1;
    received += p.bytes;
    report->show(received, p.file_bytes);
  }
}
