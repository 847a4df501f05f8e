// How fast one thread can store the frames of a log: floors/append [-p BYTES] [-d DIR] [-r FILES]. One mapping again
// and again, or, with -r, as many files of 64 MiB as are asked for, which a second thread makes meanwhile.
#include <getopt.h>

#include <algorithm>
#include <string>

#include "append.hpp"
#include "slot.hpp"

namespace {

constexpr std::size_t mapping_bytes = std::size_t{64} << 20;

struct append_options {
  double seconds = 1;
  std::size_t bytes = 64;
  std::string clock = "tsc";
  bool check = true;
  const char* directory = nullptr;
  std::size_t files = 0;
};

template <class Clock>
void run(const append_options& o, Clock now) {
  const std::string payload(o.bytes, 'x');
  const auto* const from = reinterpret_cast<const unsigned char*>(payload.data());
  std::uint64_t frames = 0, sequence = 0;
  const auto once = [&](unsigned char* memory) {
    return floors::with_size(o.bytes, [&](auto size) {
      return o.check ? floors::append_lap<true>(memory, mapping_bytes, size, from, sequence, now)
                     : floors::append_lap<false>(memory, mapping_bytes, size, from, sequence, now);
    });
  };
  std::uint64_t begin = 0, end = 0;
  if (o.files != 0) {
    floors::mapping_maker maker(o.directory, mapping_bytes, 4, o.files);
    begin = floors::monotonic_ns();
    unsigned char* memory = nullptr;
    for (std::size_t i = 0; i < o.files; ++i) frames += once(memory = maker.next(memory));
    end = floors::monotonic_ns();
  } else {
    int file = -1;
    unsigned char* const memory = floors::populated_mapping(o.directory, mapping_bytes, file);
    once(memory);
    begin = end = floors::monotonic_ns();
    for (; static_cast<double>(end - begin) < o.seconds * 1e9; end = floors::monotonic_ns()) frames += once(memory);
  }
  const double ns = static_cast<double>(end - begin) / static_cast<double>(frames);
  std::printf("append: %zu bytes, clock %s, check %s, %s%s: %.2f M/s, %.1f ns, %.2f GB/s of payload\n", o.bytes,
              o.clock.c_str(), o.check ? "crc32c" : "none", o.directory == nullptr ? "memory" : o.directory,
              o.files == 0 ? "" : ", files that are made meanwhile", 1e3 / ns, ns, static_cast<double>(o.bytes) / ns);
}

}  // namespace

int main(int argc, char** argv) {
  append_options o;
  for (int c; (c = ::getopt(argc, argv, "s:p:c:d:r:n")) != -1;) {
    if (c == 's') o.seconds = std::strtod(optarg, nullptr);
    if (c == 'p') o.bytes = std::strtoull(optarg, nullptr, 10);
    if (c == 'c') o.clock = optarg;
    if (c == 'd') o.directory = optarg;
    if (c == 'r') o.files = std::strtoull(optarg, nullptr, 10);
    if (c == 'n') o.check = false;
    if (c == '?') {
      return std::fprintf(stderr,
                          "usage: append [-s SECONDS | -r FILES] [-p BYTES] [-c tsc|kernel|none] [-n] [-d DIR]\n"),
             2;
    }
  }
  if (optind != argc) return std::fprintf(stderr, "append: it takes no %s\n", argv[optind]), 2;
  if (!(o.seconds > 0) || o.bytes == 0 || o.bytes > floors::slot_bytes_max) {
    return std::fprintf(stderr, "append: -s takes more than 0, -p 1 to %zu\n", floors::slot_bytes_max), 2;
  }
  floors::anchored_clock counter;
  if (o.clock == "kernel")
    run(o, floors::anchored_clock::kernel);
  else if (o.clock == "none")
    run(o, [] { return std::uint64_t{0}; });
  else
    run(o, [&] { return counter.now(); });
  return 0;
}
