// What a program loads: it reads a file in an executor on epoll, which leaves a helper thread behind that waits for
// work.
#include <fcntl.h>

#include <array>

#include <quoit.hpp>

namespace {

quoit::task<int> reads() {
  const auto file = co_await quoit::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (!file) co_return 1;
  std::array<std::byte, 64> begin{};
  const auto got = co_await quoit::read(*file, begin, 0);
  const auto closed = co_await quoit::close(*file);
  co_return got && *got == begin.size() && closed ? 0 : 2;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int read_a_file() {
  return quoit::sync_wait(reads(), {.engine = quoit::io_engine::epoll});
}
