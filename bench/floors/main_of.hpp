// The main function of a floor that runs alone.
#pragma once

#include <getopt.h>

#include <cstdio>

#include "pair.hpp"

namespace floors {

struct floor_program {
  const char* name;
  bool polls;             // needs two CPUs
  bool takes_payload;     // has the option --payload
  std::size_t bytes_max;  // of it
};

struct floor_options {
  double seconds = 1;
  std::size_t bytes = 64;
  cpu_pair cpus{};
};

[[noreturn]] inline void usage(const floor_program& program, std::FILE* to) {
  std::fprintf(to, "usage: %s [--seconds S] [--cpus A,B]%s\n", program.name,
               program.takes_payload ? " [--payload BYTES]" : "");
  std::exit(to == stdout ? 0 : 2);
}

inline floor_options parse(const floor_program& program, int argc, char** argv) {
  static const option known[] = {{"seconds", required_argument, nullptr, 's'},
                                 {"cpus", required_argument, nullptr, 'c'},
                                 {"help", no_argument, nullptr, 'h'},
                                 {"payload", required_argument, nullptr, 'p'},
                                 {nullptr, 0, nullptr, 0}};
  const auto wrong = [&](const char* words) {
    std::fprintf(stderr, "%s: %s\n", program.name, words);
    usage(program, stderr);
  };
  floor_options options;
  const std::vector<int> allowed = allowed_cpus();
  options.cpus = default_cpus(allowed);
  for (int c; (c = ::getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    char* end = nullptr;
    if (c == 'h') usage(program, stdout);
    if (c == 's') {
      options.seconds = std::strtod(optarg, &end);
      if (*end != '\0' || !(options.seconds > 0 && options.seconds <= 3600))
        wrong("--seconds takes more than 0, up to 3600");
    } else if (c == 'c') {
      if (!parse_cpus(optarg, allowed, options.cpus))
        wrong("--cpus takes two CPUs that this process may run on, as in 0,1");
    } else if (c == 'p' && program.takes_payload) {
      options.bytes = std::strtoull(optarg, &end, 10);
      if (*end != '\0' || *optarg == '-' || options.bytes == 0 || options.bytes > program.bytes_max) {
        wrong("--payload is out of range");
      }
    } else {
      usage(program, stderr);
    }
  }
  if (optind != argc) usage(program, stderr);
  if (program.polls && options.cpus.asks == options.cpus.answers) {
    std::fprintf(stderr, "%s: both sides spin, and need two CPUs\n", program.name);
    std::exit(1);
  }
  return options;
}

template <class Memory>
struct floor_memory {
  Memory floor;
  rounds turns;
};

// Forks the answering side, runs the asking one for the time given, prints percentiles.
template <class Memory, class Turns, class Ask, class Answer>
int main_of(const floor_program& program, int argc, char** argv, Turns turns_of, Ask ask, Answer answer) {
  const floor_options options = parse(program, argc, argv);
  const std::uint64_t turns = turns_of(options.bytes);
  auto* const memory = shared<floor_memory<Memory>>();
  if (memory == nullptr) return std::perror("mmap"), 1;
  if constexpr (requires { memory->floor.open(); }) {
    if (!memory->floor.open()) return std::perror(program.name), 1;
  }
  const double ns = ns_per_tick();
  const double step = step_ticks();
  end_with_child(end_without_peer);
  const pid_t child = fork_with_us([&] {
    pin(options.cpus.answers);
    for (std::uint64_t round = 1; memory->turns.wait(round); ++round) answer(memory->floor, turns, options.bytes);
    return 0;
  });
  if (child < 0) return std::perror("fork"), 1;
  pin(options.cpus.asks);
  histogram h;
  const std::uint64_t end = monotonic_ns() + static_cast<std::uint64_t>(options.seconds * 1e9);
  for (std::uint64_t round = 1; round <= 2 || monotonic_ns() < end; ++round) {
    memory->turns.next(round);
    histogram warm;
    ask(memory->floor, turns, options.bytes, round == 1 ? warm : h);
  }
  ::signal(SIGCHLD, SIG_DFL);
  memory->turns.stop();
  ::waitpid(child, nullptr, 0);
  const auto at = [&](double share) { return static_cast<double>(h.at(share)) * ns; };
  std::printf(
      "%s: CPUs %d and %d, round trip p50 %.1f ns, p90 %.0f, p99 %.0f, p99.9 %.0f, p99.99 %.0f, max %.0f (%llu "
      "turns)\n",
      program.name, options.cpus.asks, options.cpus.answers, h.median(step) * ns, at(0.9), at(0.99), at(0.999),
      at(0.9999), static_cast<double>(h.max()) * ns, static_cast<unsigned long long>(h.total()));
  return 0;
}

}  // namespace floors
