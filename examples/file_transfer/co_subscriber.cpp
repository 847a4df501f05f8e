// subscriber.cpp as a coroutine: the ring writes straight out of shared memory, from samples.
#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <quoit.hpp>

#include "../common/coroutines.hpp"
#include "../common/cost.hpp"
#include "part.hpp"
#include "progress.hpp"

namespace {

quoit::task<quoit::result<void>> write_all(int file, std::span<const std::byte> data, cost& spent) {
  while (!data.empty()) {
    const auto written = co_await quoit::write(file, data);
    if (!written) co_return tl::unexpected(written.error());
    spent.copy(*written);
    data = data.subspan(*written);
  }
  co_return quoit::result<void>();
}

quoit::task<int> receive(quoit::subscriber<part>& subscriber, int file, const char* path) {
  cost spent;
  std::optional<progress> report;  // since the first part
  for (std::uint64_t received = 0;;) {
    // Once it has begun, silence and no publisher mean that it died in the middle.
    const auto sample = co_await next_of(subscriber, report ? 1 : 0);
    if (!sample) {
      if (sample.error() == quoit::errc::cancelled) co_return failed("interrupted: the file is not whole");
      if (sample.error() != quoit::errc::timed_out) co_return failed("receiving", sample.error());
      co_return failed("the publisher is gone, the file is not whole");
    }
    const part& p = **sample;
    if (!report) {
      report.emplace();
      spent.first();
    }
    spent.message(p.bytes);
    // Nothing is lost from here to the end; but we may have come in the middle, or two files are sent at once.
    if (p.offset != received || p.bytes > sizeof p.data) co_return failed("this is not the next part of the file");
    if (p.bytes == 0) {
      report->print("received", received);
      spent.print("subscriber");
      const auto closed = co_await quoit::close(file);
      co_return closed ? 0 : failed(path, closed.error());
    }
    const auto written = co_await write_all(file, std::span(p.data).first(p.bytes), spent);
    if (!written) co_return failed(path, written.error());
    received += p.bytes;
    report->show(received, p.file_bytes);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--transport shared_memory|kernel|automatic] OUTPUT");
  if (args.rest.size() != 1) args.fail();
  const char* const path = args.rest[0].c_str();
  const int file = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return std::perror(path), 1;
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  if (auto ok = stop_on_ctrl_c(*executor); !ok) return failed("waiting for signals", ok.error());

  auto bus = quoit::bus::open(*executor, args.bus(), {.node_name = "file subscriber", .transport = args.transport()});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<part>("files/transfer", {.mode = quoit::mode::reliable});
  if (!subscriber) return failed("opening the topic", subscriber.error());
  print_transport(subscriber->transport());
  return executor->run(receive(*subscriber, file, path));
}
