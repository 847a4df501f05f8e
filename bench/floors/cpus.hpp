// Which two CPUs a pair of processes runs on.
#pragma once

#include <sched.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace floors {

struct cpu_pair {
  int asks;
  int answers;
};

inline std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) cpus.push_back(i);
  }
  return cpus;
}

// The CPUs that are threads of the same core, as the kernel lists them; empty if it does not say.
inline std::string core_of(int cpu) {
  std::ifstream file("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
  std::string line;
  std::getline(file, line);
  return line;
}

// The first of the allowed CPUs and the next that is of another core; the next, if all are of one core; the same twice,
// if there is only one.
inline cpu_pair default_cpus(const std::vector<int>& allowed) {
  if (allowed.empty()) return {0, 0};
  const std::string core = core_of(allowed[0]);
  for (const int cpu : allowed) {
    if (cpu != allowed[0] && core_of(cpu) != core) return {allowed[0], cpu};
  }
  return {allowed[0], allowed.size() > 1 ? allowed[1] : allowed[0]};
}

// Reads "A,B". False: those are no two CPUs that this process may run on.
inline bool parse_cpus(const char* text, const std::vector<int>& allowed, cpu_pair& out) {
  cpu_pair cpus{};
  char rest = 0;
  if (std::sscanf(text, "%d,%d%c", &cpus.asks, &cpus.answers, &rest) != 2) return false;
  bool first = false, second = false;
  for (const int cpu : allowed) {
    first = first || cpu == cpus.asks;
    second = second || cpu == cpus.answers;
  }
  if (first && second) out = cpus;
  return first && second;
}

inline bool pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0;
}

}  // namespace floors
