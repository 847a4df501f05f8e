#include "machine.hpp"

#include <sys/utsname.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <quoit/version.hpp>

namespace bench {

namespace {

std::string model_of_cpu() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return {};
}

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32] = "";
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace

machine this_machine() {
  machine m;
  m.cpu = model_of_cpu();
  utsname names{};
  if (::uname(&names) == 0) m.kernel = std::string(names.sysname) + " " + names.release + " " + names.machine;
  m.cpus = static_cast<int>(floors::allowed_cpus().size());
  double load = 0;
  if (::getloadavg(&load, 1) == 1) m.load = load;
#if defined(__clang__)
  m.compiler = "Clang " __clang_version__;
#else
  m.compiler = "GCC " __VERSION__;
#endif
  m.version = QUOIT_VERSION_STRING;
  m.began = now();
  return m;
}

std::string busy_words(const machine& m) {
  char load[32];
  std::snprintf(load, sizeof load, "%.1f", m.load);
  return std::string("Other programs were running when it began (load average ") + load +
         "): compare ways, and take no figure by itself.";
}

}  // namespace bench
