// What every example has: its command line, words for what went wrong, and an end in its own time on Ctrl-C.
#pragma once

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <quoit.hpp>
#include <string>
#include <vector>

struct arguments {
  // `usage` lists the options, as in "[--bus NAME] [--count N] FILE".
  arguments(int argc, char** argv, const char* usage) : program(argv[0]), usage_words(usage) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      const bool option = word.starts_with("-");
      if (!option) {
        rest.push_back(word);
      } else if (i + 1 < argc && usage_words.find("[" + word + " ") != std::string::npos) {
        values[word] = argv[++i];
      } else {
        fail();
      }
    }
  }
  std::string text(const std::string& name, const std::string& otherwise = {}) const {
    const auto it = values.find(name);
    return it == values.end() ? otherwise : it->second;
  }
  long number(const std::string& name, long otherwise) const {
    const std::string value = text(name);
    char* end = nullptr;
    const long number = std::strtol(value.c_str(), &end, 10);
    if (*end != '\0') fail();
    return value.empty() ? otherwise : number;
  }
  // Empty: the environment variable QUOIT_BUS, or else "default", as bus::open() has it.
  std::string bus() const { return text("--bus"); }

  // By which way messages go. Not given: the environment variable QUOIT_TRANSPORT, or else shared memory.
  quoit::transport transport() const {
    const std::string word = text("--transport");
    if (word.empty()) return quoit::transport::unspecified;
    if (word == "shared_memory") return quoit::transport::shared_memory;
    if (word == "kernel") return quoit::transport::kernel;
    if (word != "automatic") fail();
    return quoit::transport::automatic;
  }

  [[noreturn]] void fail() const {
    std::fprintf(stderr, "usage: %s %s\n", program.c_str(), usage_words.c_str());
    std::exit(2);
  }

  std::string program;
  std::string usage_words;
  std::map<std::string, std::string> values;
  std::vector<std::string> rest;
};

// Prints what went wrong; the exit status.
inline int failed(const char* doing, const quoit::error& e) {
  std::fprintf(stderr, "%s: %s\n", doing, e.message().c_str());
  return 1;
}
inline int failed(const char* words) {
  std::fprintf(stderr, "%s\n", words);
  return 1;
}
// The same of a publisher: who holds the space that it waits for.
inline int failed(const char* doing, const quoit::error& e, const quoit::blocker& who) {
  if (e != quoit::errc::timed_out && e != quoit::errc::would_block) return failed(doing, e);
  std::fprintf(stderr, "%s: %s: \"%s\" (pid %u) has not read what is there\n", doing, e.message().c_str(),
               who.node.c_str(), who.pid);
  return 1;
}

// Ctrl-C ends an example in its own time, so that it leaves nothing behind; a second one ends it at once.
inline volatile std::sig_atomic_t stop_wanted = 0;
inline void stop_on_ctrl_c() {
  for (const int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, [](int number) {
      stop_wanted = 1;
      std::signal(number, SIG_DFL);
    });
  }
}
