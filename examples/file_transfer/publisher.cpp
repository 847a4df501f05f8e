// Sends a file: read(2) puts it straight into shared memory, in loans.
#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "chunk.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--subscribers N] FILE");
  stop_on_ctrl_c();
  if (args.rest.size() != 1) return std::fprintf(stderr, "usage: %s [--bus NAME] [--subscribers N] FILE\n", argv[0]), 2;
  const char* const path = args.rest[0].c_str();
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::perror(path), 1;

  auto bus = quoit::bus::open(args.bus(), {.node_name = "file publisher"});
  if (!bus) return failed("opening the bus", bus.error());
  // Nothing is lost: the publisher waits for its subscribers (policy block). The ring holds some tens of parts.
  auto publisher = bus->publisher<quoit::bytes>(topic, {.capacity_bytes = 8 << 20, .message_bytes_max = chunk_bytes});
  if (!publisher) return failed("opening the topic", publisher.error());
  while (publisher->subscribers() < args.number("--subscribers", 1) && !stop_wanted) std::this_thread::sleep_for(1ms);

  const bool progress = ::isatty(STDOUT_FILENO) != 0;
  const auto begin = std::chrono::steady_clock::now();
  unsigned long long bytes = 0;
  for (ssize_t got = 1; got > 0 && !stop_wanted;) {
    auto loan = publisher->loan_bytes_for(chunk_bytes, 30s);
    if (!loan) {
      const quoit::blocker who = publisher->blocked_by();
      std::fprintf(stderr, "waiting for subscription %u of \"%s\", pid %u\n", who.subscription, who.node.c_str(), who.pid);
      return failed("loan", loan.error());
    }
    got = ::read(file, loan->data().data(), loan->size());
    if (got < 0) return std::perror(path), 1;
    bytes += static_cast<unsigned long long>(got);
    std::move(*loan).publish(static_cast<std::size_t>(got));  // the last one is empty: the end
    if (progress) std::printf("\r%llu MB", bytes / 1'000'000), std::fflush(stdout);
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%ssent %llu bytes in %.3f s, %.0f MB/s\n", progress ? "\r" : "", bytes, seconds,
              static_cast<double>(bytes) / seconds / 1e6);
}
