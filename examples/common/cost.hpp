// What a program's messages cost it: copies, system calls, time. Each program counts what it does itself; what is done
// for it below, the library has counted (quoit::process_counters).
#pragma once

#include <sys/resource.h>
#include <sys/time.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <quoit.hpp>
#include <utility>

class cost {
 public:
  // The time runs from here on; who waits for the first message says so when it is there. The rest counts since this
  // was made.
  void first() { began_ = std::chrono::steady_clock::now(); }
  void message(std::uint64_t bytes) {
    ++messages_;
    bytes_ += bytes;
  }
  // The program itself copied, or had the kernel copy, so many bytes.
  void copy(std::uint64_t bytes) {
    ++copies_;
    copied_bytes_ += bytes;
  }
  // The program itself made a system call. What a coroutine awaits is none: the executor makes it, with others.
  void call() { ++calls_; }

  // Opening and closing are not counted, and neither are the lines that a program prints.
  void print(const char* who) const {
    const quoit::counters made = quoit::process_counters() - before_;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    std::printf("%s: %llu messages, %llu bytes\n", who, number(messages_), number(bytes_));
    std::printf(
        "  copies        %llu of %llu bytes: %llu by this program, %llu through the sockets of the kernel path\n",
        number(copies_ + made.copies), number(copied_bytes_ + made.copied_bytes), number(copies_), number(made.copies));
    std::printf("  system calls  %llu: %llu by this program, %llu by quoit", number(calls_ + made.system_calls()),
                number(calls_), number(made.system_calls()));
    const std::pair<const char*, std::uint64_t> kinds[] = {
        {"sends", made.sends}, {"receives", made.receives}, {"looks", made.looks},  {"sleeps", made.sleeps},
        {"wakes", made.wakes}, {"io_uring", made.enters},   {"others", made.others}};
    const char* separator = " (";
    for (const auto& [kind, count] : kinds) {
      if (count != 0) std::printf("%s%s %llu", std::exchange(separator, ", "), kind, number(count));
    }
    std::printf("%s\n", *separator == ',' ? ")" : "");
    std::printf("  time          %.3f s, of a CPU %.3f s\n", seconds, cpu_seconds() - cpu_);
  }

 private:
  static unsigned long long number(std::uint64_t n) { return n; }
  static double cpu_seconds() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
  }

  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  double cpu_ = cpu_seconds();
  quoit::counters before_ = quoit::process_counters();
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t copies_ = 0;
  std::uint64_t copied_bytes_ = 0;
  std::uint64_t calls_ = 0;
};

// Says which way the messages of a bus go, and why.
inline void print_transport(const quoit::transport_info& way) {
  std::printf("transport: %s (%s)\n", way.used == quoit::transport::kernel ? "kernel" : "shared_memory",
              way.why.c_str());
}
