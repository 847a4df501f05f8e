// What the floors say about a row that was measured between them.
#pragma once

#include <cstdint>

namespace bench {

// How far apart the two CPUs are, by the round trip of the floor `line`.
enum class regime {
  smt,       // threads of one core
  near,      // cores that share a cache
  far,       // cores that do not
  same_cpu,  // both processes take turns on one
  unstable,  // it changed while the row was measured
};

constexpr const char* name_of(regime r) {
  switch (r) {
    case regime::smt: return "smt";
    case regime::near: return "near";
    case regime::far: return "far";
    case regime::same_cpu: return "same_cpu";
    case regime::unstable: return "unstable";
  }
  return "?";
}

constexpr regime regime_of(double line_ns) {
  return line_ns < 75 ? regime::smt : line_ns <= 200 ? regime::near : regime::far;
}

// A floor that moved by more than this share of itself says nothing about what was measured between.
inline constexpr double tolerance = 0.15;

constexpr bool moved(double before, double after, double allowed = tolerance) {
  const double low = before < after ? before : after;
  const double high = before < after ? after : before;
  return high - low > allowed * low;
}

// Whether two sides that should sleep while they wait did, each in at least half of its turns: so did the median turn
// then. `asks` and `answers` are voluntary context switches. Two CPUs can fall into step such that each wait finds that
// its word has changed already: then nobody sleeps, and a turn takes a hundredth of the time.
constexpr bool slept(std::uint64_t asks, std::uint64_t answers, std::uint64_t turns) {
  return 2 * asks >= turns && 2 * answers >= turns;
}

// Why a row is unstable. The floors were steady, or:
enum class doubt : std::uint8_t {
  none,
  floor_moved,  // the floor was not the same before and after
  cores_moved,  // how far the CPUs are apart was not the same all the time
  floor_awake,  // the floor's sides should sleep while they wait, and did not
  row_awake,    // the row's own
  crowded,      // others ran on the CPUs of a row that polls
};

constexpr const char* words_of(doubt d) {
  switch (d) {
    case doubt::none: return "";
    case doubt::floor_moved: return "the floor moved";
    case doubt::cores_moved: return "the cores moved apart or together";
    case doubt::floor_awake: return "the floor's sides did not sleep";
    case doubt::row_awake: return "its sides did not sleep";
    case doubt::crowded: return "other programs had its CPUs";
  }
  return "?";
}

}  // namespace bench
