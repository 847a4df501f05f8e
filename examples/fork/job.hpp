// What both programs have: the messages, and how a process shows what it has of the memory.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <quoit/fields.hpp>
#include <string>

// From the parent to its child.
struct job {
  std::uint32_t number;
  bool last;
};
QUOIT_FIELDS(job, number, last)

// And back.
struct answer {
  std::uint32_t number;
  std::int32_t pid;  // whose it is
  std::uint64_t square;
};
QUOIT_FIELDS(answer, number, pid, square)

// Mappings of this process that are inherited memory.
inline int mappings() {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("/memfd:quoit") != std::string::npos;
  return count;
}

// Files that a bus in /dev/shm would have.
inline int files() {
  int count = 0;
  std::error_code none;
  for (const auto& file : std::filesystem::directory_iterator("/dev/shm", none)) {
    count += file.path().filename().string().starts_with("quoit.inherited");
  }
  return count;
}

// The processes take turns on one output, a line at a time.
[[gnu::format(printf, 2, 3)]] inline void say(const char* who, const char* format, ...) {
  char line[400];
  std::va_list what;
  va_start(what, format);
  std::vsnprintf(line, sizeof line, format, what);
  va_end(what);
  std::printf("%-9s%s\n", who, line);
  std::fflush(stdout);
}
