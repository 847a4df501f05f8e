// What every floor needs, and nothing of quoit: two pinned processes, a clock, a histogram.
#pragma once

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace floors {

inline std::uint64_t monotonic_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

// The cheapest clock there is; ns_per_tick() turns its ticks into time.
inline std::uint64_t ticks() {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return monotonic_ns();
#endif
}

inline double ns_per_tick() {
#if defined(__x86_64__)
  static const double value = [] {
    const std::uint64_t t0 = ticks(), n0 = monotonic_ns();
    while (monotonic_ns() - n0 < 20'000'000) {
    }
    return static_cast<double>(monotonic_ns() - n0) / static_cast<double>(ticks() - t0);
  }();
  return value;
#else
  return 1.0;
#endif
}

// Log-linear: 128 buckets for each power of two, so a value is off by less than 1 %.
class histogram {
 public:
  histogram() : counts_(64 * 128) {}
  void record(std::uint64_t value) {
    ++counts_[index(value)];
    ++total_;
    if (value > max_) max_ = value;
  }
  void add(const histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    if (other.max_ > max_) max_ = other.max_;
  }
  std::uint64_t total() const { return total_; }
  std::uint64_t max() const { return max_; }
  // The smallest value that a fraction `p` of all is not above.
  std::uint64_t at(double p) const {
    const double wanted = p * static_cast<double>(total_);
    double seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += static_cast<double>(counts_[i]);
      if (seen >= wanted && seen > 0) return middle(i) < max_ ? middle(i) : max_;
    }
    return max_;
  }

 private:
  static std::size_t index(std::uint64_t value) {
    if (value < 128) return static_cast<std::size_t>(value);
    const int shift = 56 - __builtin_clzll(value);  // leaves 8 bits, of which the first is 1
    return static_cast<std::size_t>(128 * (shift + 1)) + static_cast<std::size_t>((value >> shift) & 127);
  }
  static std::uint64_t middle(std::size_t i) {
    if (i < 128) return i;
    const std::size_t shift = i / 128 - 1;
    return ((128 + i % 128) << shift) + ((std::uint64_t{1} << shift) >> 1);
  }
  std::vector<std::uint64_t> counts_;
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

inline bool pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return ::sched_setaffinity(0, sizeof set, &set) == 0;
}

template <class T>
T* shared() {
  void* const p = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return p == MAP_FAILED ? nullptr : static_cast<T*>(p);
}

// A floor on its own: forks the answering side, runs the asking one for a second, prints percentiles.
template <class Memory, class Ask, class Answer>
int main_of(const char* name, std::uint64_t turns, Ask ask, Answer answer) {
  auto* const memory = shared<Memory>();
  const pid_t child = memory != nullptr ? ::fork() : -1;
  if (child < 0) return std::perror(name), 1;
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(1);
    answer(*memory, turns);
    return 0;
  }
  ::alarm(60);  // a peer that died must not leave a spinner
  pin(0);
  histogram h;
  ask(*memory, turns, h);
  ::waitpid(child, nullptr, 0);
  const auto ns = [&](std::uint64_t t) { return static_cast<double>(t) * ns_per_tick(); };
  std::printf("%s: round trip p50 %.0f ns, p99 %.0f, p99.9 %.0f, max %.0f (%llu turns)\n", name, ns(h.at(0.5)),
              ns(h.at(0.99)), ns(h.at(0.999)), ns(h.max()), static_cast<unsigned long long>(h.total()));
  return 0;
}

}  // namespace floors
