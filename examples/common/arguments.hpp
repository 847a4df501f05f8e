// What every example's command line has: `--bus NAME`, some options with a value, and what is left.
#pragma once

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include <quoit/error.hpp>

struct arguments {
  // `usage` lists the options, as in "[--bus NAME] [--count N] FILE".
  arguments(int argc, char** argv, const char* usage) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      const bool option = word.starts_with("--");
      if (!option) {
        rest.push_back(word);
      } else if (i + 1 < argc && std::string(usage).find("[" + word + " ") != std::string::npos) {
        values[word] = argv[++i];
      } else {
        std::fprintf(stderr, "usage: %s %s\n", argv[0], usage);
        std::exit(2);
      }
    }
  }
  std::string text(const std::string& name, const std::string& otherwise = {}) const {
    const auto it = values.find(name);
    return it == values.end() ? otherwise : it->second;
  }
  long number(const std::string& name, long otherwise) const {
    const std::string value = text(name);
    return value.empty() ? otherwise : std::strtol(value.c_str(), nullptr, 10);
  }
  // Empty: the environment variable QUOIT_BUS, or else "default", as bus::open() has it.
  std::string bus() const { return text("--bus"); }

  std::map<std::string, std::string> values;
  std::vector<std::string> rest;
};

// Prints what went wrong; the exit status.
inline int failed(const char* doing, const quoit::error& e) {
  std::fprintf(stderr, "%s: %s\n", doing, e.message().c_str());
  return 1;
}

// Ctrl-C ends an example in its own time, so that it leaves nothing behind.
inline volatile std::sig_atomic_t stop_wanted = 0;
inline void stop_on_ctrl_c() {
  std::signal(SIGINT, [](int) { stop_wanted = 1; });
  std::signal(SIGTERM, [](int) { stop_wanted = 1; });
}
