// What the floors say about a row that was measured between them.
#pragma once

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

}  // namespace bench
