// Receives a file: write(2) takes it straight out of shared memory, from samples.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "chunk.hpp"

using namespace std::chrono_literals;

namespace {

bool write_all(int file, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t written = ::write(file, data.data(), data.size());
    if (written < 0) return false;
    data = data.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] OUTPUT");
  stop_on_ctrl_c();
  if (args.rest.size() != 1) return std::fprintf(stderr, "usage: %s [--bus NAME] OUTPUT\n", argv[0]), 2;
  const char* const path = args.rest[0].c_str();
  const int file = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) return std::perror(path), 1;

  auto bus = quoit::bus::open(args.bus(), {.node_name = "file subscriber"});
  if (!bus) return failed("opening the bus", bus.error());
  auto subscriber = bus->subscriber<quoit::bytes>(topic, {.mode = quoit::mode::reliable});
  if (!subscriber) return failed("opening the topic", subscriber.error());

  const bool progress = ::isatty(STDOUT_FILENO) != 0;
  unsigned long long bytes = 0;
  bool begun = false;
  while (!stop_wanted) {
    auto sample = subscriber->wait(200ms);
    if (!sample) {
      if (sample.error() != quoit::errc::timed_out) return failed("receiving", sample.error());
      // Once it has begun, silence and no publisher mean that it died in the middle.
      if (begun && subscriber->publishers() == 0) return std::fprintf(stderr, "the publisher is gone\n"), 1;
      continue;
    }
    begun = true;
    const std::span<const std::byte> part = **sample;
    if (part.empty()) {
      std::printf("%sreceived %llu bytes\n", progress ? "\r" : "", bytes);
      return ::close(file) == 0 ? 0 : (std::perror(path), 1);
    }
    if (!write_all(file, part)) return std::perror(path), 1;
    bytes += part.size();
    if (progress) std::printf("\r%llu MB", bytes / 1'000'000), std::fflush(stdout);
  }
  return 1;
}
