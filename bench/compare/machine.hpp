// The machine on which something was measured, for whoever reads the figures elsewhere.
#pragma once

#include <string>

#include "../floors/cpus.hpp"

namespace bench {

struct machine {
  std::string cpu;     // its model; empty: the kernel does not say
  std::string kernel;  // system and release
  int cpus = 0;        // that this process may run on
  floors::cpu_pair pair{};
  double load = 0;       // the average of the last minute, when it began
  std::string compiler;  // of the library and of the measuring code
  std::string version;   // of quoit
  std::string began;     // UTC, ISO 8601
  std::string command;   // what was called
  double seconds = 0;    // for each row
  double took = 0;       // seconds, all of it
};

// What can be asked for; who calls fills in the rest.
machine this_machine();

// From this load on, others run where it is measured; what to say then.
inline constexpr double busy_load = 0.7;
std::string busy_words(const machine& m);

}  // namespace bench
