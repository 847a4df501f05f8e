#include "report.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace bench {

namespace {

double rounded(double value) { return std::round(value * 1000) / 1000; }

constexpr char layout[] = "{:<11} {:<8} {:>9} {:>9} {:>10} {:>7} {:>9} {:>7} {:>9} {:>7}  {:<10} {:>7} {:>6}  {}\n";

std::string head_of(job j) {
  return fmt::format(layout, "way", "waits", "bytes", j == job::round_trip ? "p50" : "time/msg", "payload/s", "copies",
                     "copied", "calls", "cpu/msg", "sleeps", "floor", "", "ratio", "regime");
}

const char* title_of(job j) {
  switch (j) {
    case job::round_trip: return "Round trips: a message there and one of the same size back";
    case job::one_way: return "One way: one message after the other";
    case job::file_transfer: return "A file from one process to the other, in parts: read(2), across, write(2)";
  }
  return "";
}

std::string line_of(const compared& row) {
  const timed& t = row.time;
  if (!row.not_measured.empty()) {
    return fmt::format("{:<11} {:<8} {:>9} not measured: {}\n", name_of(row.by.by), waits_of(row.by),
                       words_of_bytes(row.payload_bytes), row.not_measured);
  }
  const bool c = row.counts.has_value();
  std::string line = fmt::format(
      layout, name_of(row.by.by), waits_of(row.by), words_of_bytes(row.payload_bytes), words_of_time(t.time),
      words_of_rate(t.messages_per_s * static_cast<double>(row.payload_bytes)),
      c ? words_of_count(row.counts->copies) : "-",
      c ? words_of_bytes(static_cast<std::uint64_t>(std::llround(row.counts->bytes_copied))) : "-",
      c ? words_of_count(row.counts->calls) : "-", words_of_time(t.cpu_us * 1e3), words_of_count(t.sleeps),
      name_of(t.floor), words_of_time((t.floor_before + t.floor_after) / 2), t.ratio > 0 ? words_of_count(t.ratio) : "",
      t.regime == regime::unstable ? fmt::format("unstable: {}", words_of(t.why)) : name_of(t.regime));
  if (!c) line += fmt::format("{:<20} copies and calls not counted: {}\n", "", row.not_counted);
  return line;
}

nlohmann::ordered_json object_of(const compared& row, const machine& where) {
  const timed& t = row.time;
  nlohmann::ordered_json j = {{"name", name_of(row)},
                              {"job", name_of(row.what_for)},
                              {"way", name_of(row.by.by)},
                              {"waits", waits_of(row.by)},
                              {"payload_bytes", row.payload_bytes}};
  if (!row.not_measured.empty()) {
    j["not_measured_because"] = row.not_measured;
    return j;
  }
  if (row.what_for == job::round_trip) {
    j["p50_ns"] = rounded(t.time);
    j["p90_ns"] = rounded(t.p90);
    j["p99_ns"] = rounded(t.p99);
  } else {
    j["ns_per_message"] = rounded(t.time);
  }
  j["messages_per_s"] = std::round(t.messages_per_s);
  j["payload_bytes_per_s"] = std::round(t.messages_per_s * static_cast<double>(row.payload_bytes));
  j["floor_name"] = name_of(t.floor);
  j["floor_before_ns"] = rounded(t.floor_before);
  j["floor_after_ns"] = rounded(t.floor_after);
  if (t.ratio > 0) j["ratio"] = rounded(t.ratio);
  j["regime"] = name_of(t.regime);
  if (t.why != doubt::none) j["unstable_because"] = words_of(t.why);
  j["turns"] = t.turns;
  j["slices"] = t.slices;
  j["slices_left_out"] = t.slices_left;
  j["cpus"] = {where.pair.asks, where.pair.answers};
  j["cpu_us_per_message"] = rounded(t.cpu_us);
  j["sleeps_per_message"] = rounded(t.sleeps);
  if (row.counts) {
    j["copies_per_message"] = rounded(row.counts->copies);
    j["bytes_copied_per_message"] = rounded(row.counts->bytes_copied);
    j["system_calls_per_message"] = rounded(row.counts->calls);
    nlohmann::ordered_json calls = nlohmann::ordered_json::object();
    for (const auto& [name, times] : row.counts->calls_by_name) calls[name] = rounded(times);
    j["system_calls"] = calls;
  } else {
    j["not_counted_because"] = row.not_counted;
  }
  return j;
}

}  // namespace

std::string words_of_time(double ns) {
  if (ns < 9.995) return fmt::format("{:.2f} ns", ns);
  if (ns < 99.95) return fmt::format("{:.1f} ns", ns);
  if (ns < 999.5) return fmt::format("{:.0f} ns", ns);
  if (ns < 9'995) return fmt::format("{:.2f} µs", ns / 1e3);
  if (ns < 99'950) return fmt::format("{:.1f} µs", ns / 1e3);
  if (ns < 999'500) return fmt::format("{:.0f} µs", ns / 1e3);
  if (ns < 9'995'000) return fmt::format("{:.2f} ms", ns / 1e6);
  return fmt::format("{:.0f} ms", ns / 1e6);
}

std::string words_of_bytes(std::uint64_t bytes) {
  if (bytes >= 1 << 20 && bytes % (1 << 20) == 0) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= 1 << 10 && bytes % (1 << 10) == 0) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

std::string words_of_rate(double bytes_per_s) {
  if (bytes_per_s < 999.5e3) return fmt::format("{:.0f} kB/s", bytes_per_s / 1e3);
  if (bytes_per_s < 99.95e6) return fmt::format("{:.1f} MB/s", bytes_per_s / 1e6);
  if (bytes_per_s < 999.5e6) return fmt::format("{:.0f} MB/s", bytes_per_s / 1e6);
  return fmt::format("{:.1f} GB/s", bytes_per_s / 1e9);
}

std::string words_of_count(double times) {
  if (times < 9.995) return fmt::format("{:.2f}", times);
  return times < 99.95 ? fmt::format("{:.1f}", times) : fmt::format("{:.0f}", times);
}

std::string words_of_tick_time(double ns) {
  if (ns < 999) return fmt::format("{:g} ns", ns);
  if (ns < 999e3) return fmt::format("{:g} µs", ns / 1e3);
  return ns < 999e6 ? fmt::format("{:g} ms", ns / 1e6) : fmt::format("{:g} s", ns / 1e9);
}

std::string words_of_tick_rate(double bytes_per_s) {
  if (bytes_per_s < 999e3) return fmt::format("{:g} kB/s", bytes_per_s / 1e3);
  if (bytes_per_s < 999e6) return fmt::format("{:g} MB/s", bytes_per_s / 1e6);
  return fmt::format("{:g} GB/s", bytes_per_s / 1e9);
}

std::string words_of_tick_bytes(std::uint64_t bytes) {
  if (bytes >= 1 << 20 && bytes % (1 << 20) == 0) return fmt::format("{}M", bytes >> 20);
  return bytes >= 1 << 10 && bytes % (1 << 10) == 0 ? fmt::format("{}K", bytes >> 10) : fmt::format("{}", bytes);
}

std::string name_of(const compared& row) {
  return fmt::format("{}.{}.{}", name_of(row.what_for), name_of(row.by.by), waits_of(row.by));
}

std::string tables_of(const comparison& c) {
  std::string text;
  for (const job j : {job::round_trip, job::one_way, job::file_transfer}) {
    const auto ours = [j](const compared& row) { return row.what_for == j; };
    if (!std::any_of(c.rows.begin(), c.rows.end(), ours)) continue;
    text += fmt::format("\n{}\n{}", title_of(j), head_of(j));
    std::uint64_t before = 0;
    for (const compared& row : c.rows) {
      if (!ours(row)) continue;
      if (before != 0 && before != row.payload_bytes) text += "\n";
      before = row.payload_bytes;
      text += line_of(row);
    }
  }
  text += "\nThe least that is possible\n";
  for (const lower_bound& f : c.floors) {
    text += fmt::format("{:<11} {:<10} {:>9} {:>9}\n", name_of(f.what_for), f.name, words_of_bytes(f.payload_bytes),
                        words_of_time(f.time));
  }
  if (const std::string verdict = file_transfer_verdict(c); !verdict.empty()) text += "\n" + verdict + "\n";
  return text;
}

std::string json_of(const comparison& c, const machine& where) {
  const nlohmann::ordered_json machine = {{"name", "machine"},
                                          {"cpu", where.cpu},
                                          {"kernel", where.kernel},
                                          {"cpus_allowed", where.cpus},
                                          {"cpus", {where.pair.asks, where.pair.answers}},
                                          {"load_average", rounded(where.load)},
                                          {"compiler", where.compiler},
                                          {"quoit", where.version},
                                          {"began", where.began},
                                          {"command", where.command},
                                          {"seconds_per_row", where.seconds},
                                          {"seconds_in_all", rounded(where.took)}};
  std::string text = machine.dump() + "\n";
  for (const compared& row : c.rows) text += object_of(row, where).dump() + "\n";
  for (const lower_bound& f : c.floors) {
    const nlohmann::ordered_json j = {{"name", fmt::format("{}.floor.{}", name_of(f.what_for), f.name)},
                                      {"job", name_of(f.what_for)},
                                      {"floor", f.name},
                                      {"payload_bytes", f.payload_bytes},
                                      {"ns", rounded(f.time)}};
    text += j.dump() + "\n";
  }
  return text;
}

std::string file_transfer_verdict(const comparison& c) {
  const double times =
      times_as_fast(c, job::file_transfer, file_part_bytes, {carrier::loan, false}, {carrier::kernel, false});
  if (times <= 0) return {};
  bool steady = true;
  double cpu_us[2] = {0, 0};
  for (const compared& row : c.rows) {
    const bool kernel = row.by.by == carrier::kernel;
    if (row.what_for != job::file_transfer || (row.by.by != carrier::loan && !kernel)) continue;
    steady = steady && row.time.regime != regime::unstable;
    cpu_us[kernel ? 1 : 0] = row.time.cpu_us;
  }
  return fmt::format(
      "file_transfer: shared memory is {:.2f} times as fast as the kernel path, for {:.0f} % of its CPU time; the "
      "target, "
      "{:.1f}, is {}{}",
      times, 100 * cpu_us[0] / cpu_us[1], file_transfer_target, times >= file_transfer_target ? "met" : "not met",
      steady ? "" : " (the machine was unsteady: measure again)");
}

}  // namespace bench
