// One thread stores the frames of a log into populated mappings: copy, check, stamp, the next header, the header.
// Nothing reads them, nothing is written back on purpose: the least that keeping a message can cost.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "clock.hpp"

namespace floors {

// The kernel's clock, asked once in a millisecond, and the counter in between.
struct anchored_clock {
  std::uint64_t ns = 0, at = 0, rate = static_cast<std::uint64_t>(ns_per_tick() * 4294967296.0);
  std::uint64_t trusted = static_cast<std::uint64_t>(1e6 / ns_per_tick());

  static std::uint64_t kernel() {
    timespec t{};
    ::clock_gettime(CLOCK_REALTIME, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
  }
  std::uint64_t now() {
    const std::uint64_t since = ticks() - at;
    if (since < trusted) return ns + (since * rate >> 32);
    ns = kernel();
    at = ticks();
    return ns;
  }
};

inline std::uint64_t append_check(std::uint64_t crc, std::uint64_t word) {
#if defined(__x86_64__)
  __asm__("crc32q %1, %0" : "+r"(crc) : "rm"(word));
  return crc;
#else
  return crc ^ word;
#endif
}

constexpr std::size_t append_extent(std::size_t bytes) { return (24 + bytes + 7) / 8 * 8; }

// Fills the mapping once; returns how many frames that were.
template <bool Checked, class Size, class Clock>
std::uint64_t append_lap(unsigned char* memory, std::size_t mapping_bytes, Size bytes, const unsigned char* payload,
                         std::uint64_t& sequence, Clock& now) {
  const std::size_t extent = append_extent(bytes);
  std::uint64_t frames = 0;
  for (std::size_t at = 0; at + extent + 8 <= mapping_bytes; at += extent, ++frames, ++sequence) {
    unsigned char* const frame = memory + at;
    auto* const words = reinterpret_cast<std::uint64_t*>(frame);
    std::memcpy(frame + 24, payload, bytes);
    const std::uint64_t header = bytes | std::uint64_t{0x32} << 32 | sequence << 40;
    words[1] = now();
    if constexpr (Checked) {
      std::uint64_t c = append_check(append_check(1, header), words[1]);
      for (std::size_t i = 3; i < extent / 8; ++i) c = append_check(c, words[i]);
      words[2] = c;
    }
    __atomic_store_n(&words[extent / 8], 0, __ATOMIC_RELAXED);
    __atomic_store_n(&words[0], header, __ATOMIC_RELEASE);
  }
  return frames;
}

// A file that is allocated, mapped and populated, in large pages where there are such; memory, without a directory.
// The file has no name, and is open as long as `file` says.
inline unsigned char* populated_mapping(const char* directory, std::size_t bytes, int& file) {
  int flags = MAP_SHARED;
  file = -1;
  if (directory == nullptr) {
    flags |= MAP_ANONYMOUS;
  } else if (file = ::open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
             file < 0 || ::fallocate(file, 0, 0, static_cast<off_t>(bytes)) != 0) {
    std::perror(directory);
    std::exit(1);
  }
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
  if (memory == MAP_FAILED) std::perror("mmap"), std::exit(1);
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, since Linux 5.14
  if (::madvise(memory, bytes, populate_write) != 0) {
    for (std::size_t at = 0; at < bytes; at += 4096) static_cast<volatile unsigned char*>(memory)[at] = 0;
  }
  return static_cast<unsigned char*>(memory);
}

// A second thread that makes such mappings ahead, and unmaps those that are full: what sustained appending needs beside
// the stores, whoever does it. The files stay until the end, as a log does.
class mapping_maker {
 public:
  mapping_maker(const char* directory, std::size_t bytes, std::size_t ahead, std::size_t count)
      : bytes_(bytes), thread_([=, this] { make(directory, ahead, count); }) {}
  mapping_maker(const mapping_maker&) = delete;
  mapping_maker& operator=(const mapping_maker&) = delete;
  ~mapping_maker() {
    thread_.join();
    for (const int file : files_) ::close(file);
  }

  unsigned char* next(unsigned char* full) {
    std::unique_lock hold(mutex_);
    if (full != nullptr) full_.push_back(full);
    moved_.notify_all();
    moved_.wait(hold, [&] { return !ready_.empty(); });
    unsigned char* const memory = ready_.front();
    ready_.pop_front();
    return memory;
  }

 private:
  void make(const char* directory, std::size_t ahead, std::size_t count) {
    for (std::size_t made = 0; made < count; ++made) {
      int file = -1;
      unsigned char* const memory = populated_mapping(directory, bytes_, file);
      if (file >= 0) files_.push_back(file);
      std::deque<unsigned char*> full;
      {
        std::unique_lock hold(mutex_);
        ready_.push_back(memory);
        moved_.notify_all();
        if (made + 1 < count) moved_.wait(hold, [&] { return ready_.size() < ahead; });
        full.swap(full_);
      }
      for (unsigned char* const m : full) ::munmap(m, bytes_);
    }
  }

  const std::size_t bytes_;
  std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<unsigned char*> ready_, full_;
  std::vector<int> files_;
  std::thread thread_;
};

}  // namespace floors
