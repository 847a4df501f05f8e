#include "base/random.hpp"

#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/clock.hpp"
#include "base/fd.hpp"

namespace quoit::inline v1::detail {

namespace {

using random_bytes = std::array<std::uint64_t, 2>;

// `take(into, bytes)` answers as read(2) does.
template <class Take>
bool fill(random_bytes& id, Take take) noexcept {
  auto* const begin = reinterpret_cast<char*>(id.data());
  for (std::size_t done = 0; done < sizeof id;) {
    const ssize_t got = take(begin + done, sizeof id - done);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

// The last step of splitmix64, where each bit of the input changes half of the bits of the output.
std::uint64_t mixed(std::uint64_t x) noexcept {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// What the kernel gave this program when it started (16 bytes), and what differs between forked children and calls.
random_bytes without_the_kernel() noexcept {
  static constinit std::atomic<std::uint64_t> calls{0};
  random_bytes id{};
  if (const unsigned long at_start = ::getauxval(AT_RANDOM); at_start != 0) {
    std::memcpy(id.data(), reinterpret_cast<const void*>(at_start), sizeof id);
  }
  // relaxed: each call gets another number, and that is all
  const std::uint64_t call = calls.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t own = static_cast<std::uint64_t>(::getpid()) << 32 | (call & 0xffffffff);
  id[0] = mixed(id[0] + mixed(realtime_ns()) + own);
  id[1] = mixed(id[1] ^ mixed(id[0]));
  return id;
}

}  // namespace

std::array<std::uint64_t, 2> random_id() noexcept {
  random_bytes id{};
  if (fill(id, [](void* into, std::size_t bytes) { return ::getrandom(into, bytes, 0); })) return id;
  const fd file = open_file("/dev/urandom", O_RDONLY);
  const bool read = file && fill(id, [&](void* into, std::size_t bytes) { return ::read(file.get(), into, bytes); });
  return read ? id : without_the_kernel();
}

}  // namespace quoit::inline v1::detail
