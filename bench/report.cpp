#include "report.hpp"

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace bench {

namespace {

// Four characters of a number and its unit.
std::string time(double ns) {
  if (ns < 9.995) return fmt::format("{:.2f}ns", ns);
  if (ns < 99.95) return fmt::format("{:.1f}ns", ns);
  if (ns < 9'999.5) return fmt::format("{:.0f}ns", ns);
  if (ns < 99'950) return fmt::format("{:.1f}us", ns / 1e3);
  if (ns < 9'999'500) return fmt::format("{:.0f}us", ns / 1e3);
  return fmt::format("{:.0f}ms", ns / 1e6);
}

std::string percent(double value) { return value < 9.95 ? fmt::format("{:.2g}", value) : fmt::format("{:.0f}", value); }

double rounded(double value) { return std::round(value * 1000) / 1000; }

constexpr char layout[] =
    "{:<22} {:>8} {:>7} {:>7} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>6} {:>9}  {:<11} {:>7} {:>7} {:>6}  {}\n";

}  // namespace

std::string table_head() {
  return fmt::format(layout, "row", "bytes", "p50", "p90", "p99", "p99.9", "p99.99", "max", "M msg/s", "cpu/msg",
                     "calls", "cpu %", "floor", "before", "after", "ratio", "regime");
}

std::string table_line(const measured& row) {
  std::string line =
      fmt::format(layout, row.name, row.payload_bytes, time(row.p50), time(row.p90), time(row.p99), time(row.p999),
                  time(row.p9999), time(row.max), fmt::format("{:.3f}", row.messages_per_s / 1e6),
                  time(row.cpu_us * 1e3), fmt::format("{:.2f}", row.calls),
                  fmt::format("{}/{}", percent(row.cpu_percent[0]), percent(row.cpu_percent[1])), name_of(row.floor),
                  time(row.floor_before), time(row.floor_after), fmt::format("{:.2f}", row.ratio), name_of(row.regime));
  if (row.why != doubt::none) line += fmt::format("{:<22} unstable: {}\n", "", words_of(row.why));
  if (row.cpu_share < 0.9) {
    line += fmt::format("{:<22} other programs had its CPUs for {:.0f} % of the time\n", "", (1 - row.cpu_share) * 100);
  }
  if (row.rate > 0 && row.messages_per_s < 1.9 * row.rate) {
    line += fmt::format("{:<22} it cannot keep this rate: {:.0f} round trips a second\n", "", row.messages_per_s / 2);
  }
  return line;
}

std::string json_line(const measured& row) {
  nlohmann::ordered_json j = {{"name", row.name},
                              {"payload_bytes", row.payload_bytes},
                              {"touch_bytes", row.touch_bytes},
                              {"p50_ns", rounded(row.p50)},
                              {"p90_ns", rounded(row.p90)},
                              {"p99_ns", rounded(row.p99)},
                              {"p999_ns", rounded(row.p999)},
                              {"p9999_ns", rounded(row.p9999)},
                              {"max_ns", rounded(row.max)},
                              {"messages_per_s", std::round(row.messages_per_s)},
                              {"floor_name", name_of(row.floor)},
                              {"floor_before_ns", rounded(row.floor_before)},
                              {"floor_after_ns", rounded(row.floor_after)},
                              {"ratio", rounded(row.ratio)},
                              {"regime", name_of(row.regime)},
                              {"line_before_ns", rounded(row.line_before)},
                              {"line_after_ns", rounded(row.line_after)},
                              {"attempts", row.attempts},
                              {"turns", row.turns},
                              {"cpus", {row.cpus[0], row.cpus[1]}},
                              {"cpu_us_per_message", rounded(row.cpu_us)},
                              {"sleeps_per_message", rounded(row.sleeps)},
                              {"wakes_per_message", rounded(row.wakes)},
                              {"enters_per_message", rounded(row.enters)},
                              {"calls_per_message", rounded(row.calls)},
                              {"cpu_percent", {rounded(row.cpu_percent[0]), rounded(row.cpu_percent[1])}},
                              {"cpu_share", rounded(row.cpu_share)}};
  if (row.rate > 0) j["rate_per_s"] = row.rate;
  if (row.why != doubt::none) j["unstable_because"] = words_of(row.why);
  return j.dump();
}

}  // namespace bench
