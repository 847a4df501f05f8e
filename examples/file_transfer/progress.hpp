#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>

// How far a transfer is, on a terminal, and at its end how fast it was.
class progress {
 public:
  // Where the file's size is not known, in MB, else in parts of it.
  void show(std::uint64_t bytes, std::uint64_t of = 0) const {
    if (!terminal_) return;
    if (of > 0) {
      std::printf("\r%3.0f %%", 100.0 * static_cast<double>(bytes) / static_cast<double>(of));
    } else {
      std::printf("\r%llu MB", static_cast<unsigned long long>(bytes / 1'000'000));
    }
    std::fflush(stdout);
  }
  void print(const char* done, std::uint64_t bytes) const {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    std::printf("%s%s %llu bytes in %.3f s, %.0f MB/s\n", terminal_ ? "\r" : "", done,
                static_cast<unsigned long long>(bytes), seconds, static_cast<double>(bytes) / seconds / 1e6);
  }

 private:
  bool terminal_ = ::isatty(STDOUT_FILENO) != 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};
