// One thread stores the frames of a log into a populated mapping: copy, check, stamp, the next header, the header.
// Nothing reads them, nothing is written back on purpose: the least that keeping a message can cost.
#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "slot.hpp"

namespace {

constexpr std::size_t mapping_bytes = std::size_t{64} << 20;

struct append_options {
  double seconds = 1;
  std::size_t bytes = 64;
  std::string clock = "tsc";
  bool check = true;
  const char* directory = nullptr;
};

std::uint64_t realtime_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

// The kernel's clock, asked once in a millisecond, and the counter in between.
struct anchored_clock {
  std::uint64_t ns = 0, at = 0, rate = static_cast<std::uint64_t>(floors::ns_per_tick() * 4294967296.0);
  std::uint64_t trusted = static_cast<std::uint64_t>(1e6 / floors::ns_per_tick());
  std::uint64_t now() {
    const std::uint64_t since = floors::ticks() - at;
    if (since < trusted) return ns + (since * rate >> 32);
    ns = realtime_ns();
    at = floors::ticks();
    return ns;
  }
};

inline std::uint64_t crc(std::uint64_t crc, std::uint64_t word) {
#if defined(__x86_64__)
  __asm__("crc32q %1, %0" : "+r"(crc) : "rm"(word));
  return crc;
#else
  return crc ^ word;
#endif
}

template <bool Checked, class Size, class Clock>
std::uint64_t lap(unsigned char* memory, Size bytes, const unsigned char* payload, std::uint64_t& sequence, Clock now) {
  const std::size_t extent = (24 + bytes + 7) / 8 * 8;
  std::uint64_t frames = 0;
  for (std::size_t at = 0; at + extent + 8 <= mapping_bytes; at += extent, ++frames, ++sequence) {
    unsigned char* const frame = memory + at;
    auto* const words = reinterpret_cast<std::uint64_t*>(frame);
    std::memcpy(frame + 24, payload, bytes);
    const std::uint64_t header = bytes | std::uint64_t{0x32} << 32 | sequence << 40;
    words[1] = now();
    if constexpr (Checked) {
      std::uint64_t c = crc(crc(1, header), words[1]);
      for (std::size_t i = 3; i < extent / 8; ++i) c = crc(c, words[i]);
      words[2] = c;
    }
    __atomic_store_n(&words[extent / 8], 0, __ATOMIC_RELAXED);
    __atomic_store_n(&words[0], header, __ATOMIC_RELEASE);
  }
  return frames;
}

template <class Clock>
void run(const append_options& o, unsigned char* memory, Clock now) {
  const std::string payload(o.bytes, 'x');
  const auto* const from = reinterpret_cast<const unsigned char*>(payload.data());
  std::uint64_t frames = 0, sequence = 0;
  const auto once = [&] {
    return floors::with_size(o.bytes, [&](auto size) {
      return o.check ? lap<true>(memory, size, from, sequence, now) : lap<false>(memory, size, from, sequence, now);
    });
  };
  once();
  const std::uint64_t begin = floors::monotonic_ns();
  std::uint64_t end = begin;
  for (; static_cast<double>(end - begin) < o.seconds * 1e9; end = floors::monotonic_ns()) frames += once();
  const double ns = static_cast<double>(end - begin) / static_cast<double>(frames);
  std::printf("append: %zu bytes, clock %s, check %s, %s: %.2f M/s, %.1f ns, %.2f GB/s of payload\n", o.bytes,
              o.clock.c_str(), o.check ? "crc32c" : "none", o.directory == nullptr ? "memory" : o.directory, 1e3 / ns,
              ns, static_cast<double>(o.bytes) / ns);
}

unsigned char* map(const char* directory) {
  int flags = MAP_SHARED | MAP_POPULATE, file = -1;
  if (directory == nullptr) {
    flags |= MAP_ANONYMOUS;
  } else if (file = ::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
             file < 0 || ::posix_fallocate(file, 0, mapping_bytes) != 0) {
    std::perror(directory);
    std::exit(1);
  }
  void* const memory = ::mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, flags, file, 0);
  if (memory == MAP_FAILED) std::perror("mmap"), std::exit(1);
  if (file >= 0) ::close(file);
  return static_cast<unsigned char*>(memory);
}

}  // namespace

int main(int argc, char** argv) {
  append_options o;
  for (int c; (c = ::getopt(argc, argv, "s:p:c:d:n")) != -1;) {
    if (c == 's') o.seconds = std::strtod(optarg, nullptr);
    if (c == 'p') o.bytes = std::strtoull(optarg, nullptr, 10);
    if (c == 'c') o.clock = optarg;
    if (c == 'd') o.directory = optarg;
    if (c == 'n') o.check = false;
    if (c == '?')
      return std::fprintf(stderr, "usage: append [-s SECONDS] [-p BYTES] [-c tsc|kernel|none] [-n] [-d DIR]\n"), 2;
  }
  if (optind != argc) return std::fprintf(stderr, "append: it takes no %s\n", argv[optind]), 2;
  if (!(o.seconds > 0) || o.bytes == 0 || o.bytes > floors::slot_bytes_max) {
    return std::fprintf(stderr, "append: -s takes more than 0, -p 1 to %zu\n", floors::slot_bytes_max), 2;
  }
  unsigned char* const memory = map(o.directory);
  anchored_clock counter;
  if (o.clock == "kernel")
    run(o, memory, realtime_ns);
  else if (o.clock == "none")
    run(o, memory, [] { return std::uint64_t{0}; });
  else
    run(o, memory, [&] { return counter.now(); });
  return 0;
}
