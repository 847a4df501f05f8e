// Reading what is in the page cache, from the begin.
#include <sys/mman.h>

#include <filesystem>

#include "kept.hpp"

namespace kept {

namespace {

u64 sum(const std::byte* from, std::size_t bytes) {
  u64 result = 0;
  for (std::size_t at = 0; at < bytes; at += 8) {
    u64 word = 0;
    std::memcpy(&word, from + at, sizeof word);
    result += word;
  }
  return result;
}

volatile u64 result;

// Seconds to read all messages, each byte of them where `all`.
double read_once(const setting& s, const std::string& name, u64 count, bool verified, bool all) {
  auto reader = must(log_reader::open(s.directory, "bench", name, 4, verified));
  must(reader->start_at_earliest());
  u64 got = 0, seen = 0;
  lane_frame frame;
  const double begin = now();
  while (reader->take(frame) == take_status::message) {
    if (all) {
      seen += sum(frame.payload, frame.payload_bytes);
    } else {
      seen += static_cast<u64>(frame.payload[0]) + static_cast<u64>(frame.payload[frame.payload_bytes - 1]);
    }
    reader->release(frame);
    ++got;
  }
  const double seconds = now() - begin;
  result = seen;
  if (got != count) std::fprintf(stderr, "storage: read %llu\n", static_cast<unsigned long long>(got)), std::exit(1);
  return seconds;
}

void replay(const setting& s, u32 bytes, u64 count) {
  const std::string name = "replay" + std::to_string(bytes);
  {
    const std::vector<std::byte> payload(bytes, std::byte{'x'});
    open_lane lane(s.options(name));
    for (u64 n = 0; n < count; ++n) lane.append(payload.data(), bytes);
  }
  std::vector<double> believed, verified, memory;
  constexpr std::size_t floor_bytes = std::size_t{512} << 20;
  auto* const floor = static_cast<std::byte*>(
      ::mmap(nullptr, floor_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0));
  if (floor == MAP_FAILED) std::perror("mmap"), std::exit(1);
  const double gigabytes = static_cast<double>(count) * bytes / 1e9;
  for (int i = 0; i < 7; ++i) {
    believed.push_back(read_once(s, name, count, false, bytes > 64));
    verified.push_back(read_once(s, name, count, true, bytes > 64));
    const double begin = now();
    result = sum(floor, floor_bytes);
    memory.push_back(static_cast<double>(floor_bytes) / 1e9 / (now() - begin));
  }
  ::munmap(floor, floor_bytes);
  std::filesystem::remove_all(s.lane(name));
  const double seconds = median(believed);
  if (bytes == 64) {
    row("replay, 64 bytes", static_cast<double>(count) / seconds / 1e6, "M/s", 50, true);
    std::printf("  each verified: %.1f M/s\n", static_cast<double>(count) / median(verified) / 1e6);
  } else {
    row("replay, 4 KiB, each byte read", gigabytes / seconds, "GB/s", median(memory), "memory, 4 KiB pages", 0.8);
    std::printf("  each verified: %.2f GB/s\n", gigabytes / median(verified));
  }
}

}  // namespace

void replay_rows(const setting& s) {
  replay(s, 64, s.messages);
  replay(s, 4096, std::max<u64>(s.messages * 88 / 4120, 1));
}

}  // namespace kept
