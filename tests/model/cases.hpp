// Runs a model with every rule on, where it must pass, and with one rule off, where it must fail.
#pragma once

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <streambuf>
#include <string>

#include "world.hpp"

namespace model {

struct outcome {
  bool passed;
  rl::iteration_t iterations;
  std::string words;
  double seconds;
};

// Relacy writes while its allocator is in force: what it writes to must not allocate.
class nowhere : public std::streambuf {
  int overflow(int c) override { return c == EOF ? 0 : c; }
};

template <class Test>
outcome explore(rl::iteration_t iterations, rl::scheduler_type_e scheduler = rl::sched_random) {
  nowhere discarded;
  std::ostream silence(&discarded);
  rl::test_params params;
  params.iteration_count = iterations;
  params.output_stream = &silence;
  params.progress_stream = &silence;
  params.search_type = scheduler;
  params.context_bound = 2;
  params.execution_depth_limit = 20000;
  const auto begin = std::chrono::steady_clock::now();
  const bool passed = rl::simulate<Test>(params);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return {passed, params.stop_iteration, rl::test_result_str(params.test_result), took.count()};
}

class suite {
 public:
  suite() {
    const char* const wanted = std::getenv("QUOIT_MODEL_ITERATIONS");
    if (wanted != nullptr) factor_ = std::strtod(wanted, nullptr) / 1000;
  }

  // `thousands` of random executions.
  template <class Test>
  void passes(const char* name, double thousands, rl::scheduler_type_e scheduler = rl::sched_random) {
    rule_off.clear();
    const auto n = static_cast<rl::iteration_t>(thousands * 1000 * factor_);
    const outcome o = explore<Test>(n, scheduler);
    report(o.passed, std::string(name) + ": every rule on", o, "passed");
  }
  template <class Test>
  void fails_without(const char* rule, const char* name, double thousands = 100) {
    rule_off = rule;
    const outcome o = explore<Test>(static_cast<rl::iteration_t>(thousands * 1000));
    rule_off.clear();
    report(!o.passed, std::string(name) + ": fails without " + rule, o, "a failure");
  }
  int end() const {
    std::printf("%d passed, %d failed, 0 skipped\n", passed_, failed_);
    return failed_ == 0 ? 0 : 1;
  }

 private:
  void report(bool good, const std::string& name, const outcome& o, const char* wanted) {
    (good ? passed_ : failed_)++;
    std::printf("%-4s %-58s %9llu executions, %6.1f s: %s%s%s\n", good ? "ok" : "BAD", name.c_str(),
                static_cast<unsigned long long>(o.iterations), o.seconds, o.words.c_str(), good ? "" : "; wanted ",
                good ? "" : wanted);
    std::fflush(stdout);
  }
  double factor_ = 1;
  int passed_ = 0;
  int failed_ = 0;
};

}  // namespace model
