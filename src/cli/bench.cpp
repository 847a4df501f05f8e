// quoit bench latency, quoit bench throughput.
#include <fmt/core.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands.hpp"
#include "row.hpp"

namespace cli {

namespace {

struct choices {
  std::vector<std::string> rows;
  std::uint64_t payload_bytes = 64;
  std::uint64_t touch_bytes = 0;
  double seconds = 1;
  double rate = 0;
  std::vector<int> cpus;
  std::string json;
};

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) cpus.push_back(i);
  }
  return cpus;
}

[[noreturn]] void usage_error(const std::string& words) { throw CLI::ValidationError(words); }

std::vector<int> chosen_cpus(const choices& c) {
  const std::vector<int> allowed = allowed_cpus();
  if (c.cpus.empty()) return allowed.size() > 1 ? std::vector<int>{allowed[0], allowed[1]} : std::vector<int>{allowed[0], allowed[0]};
  if (c.cpus.size() != 2) usage_error("--cpus takes two, as in 0,1");
  for (const int cpu : c.cpus) {
    if (std::find(allowed.begin(), allowed.end(), cpu) == allowed.end()) {
      usage_error(fmt::format("--cpus: this process may not run on CPU {}", cpu));
    }
  }
  return c.cpus;
}

nlohmann::ordered_json to_json(const bench::measured& m) {
  return {{"name", m.name},
          {"payload_bytes", m.payload_bytes},
          {"p50_ns", m.p50},
          {"p90_ns", m.p90},
          {"p99_ns", m.p99},
          {"p999_ns", m.p999},
          {"p9999_ns", m.p9999},
          {"max_ns", m.max},
          {"messages_per_s", m.messages_per_s},
          {"floor_name", m.floor_name},
          {"floor_before_ns", m.floor_before},
          {"floor_after_ns", m.floor_after},
          {"ratio", m.ratio},
          {"regime", m.regime},
          {"line_before_ns", m.line_before},
          {"line_after_ns", m.line_after},
          {"turns", m.turns},
          {"cpu_us_per_message", m.cpu_us_per_message},
          {"sleeps_per_message", m.sleeps_per_message},
          {"attempts", m.attempts}};
}

void print_head(std::FILE* to, bool throughput) {
  fmt::print(to, "{:<17} {:>8} {:>8} {:>8} {:>8} {:>9} {:>10} {:>9}  {:<18} {:>6}  {}\n", "row", "bytes", "p50", "p90",
             "p99", "p99.9", "max", "M msg/s", "floor: before/after", "ratio", "regime");
  fmt::print(to, "{:<17} {:>8} {:>8} {:>8} {:>8} {:>9} {:>10}\n", "", "", "ns", "ns", "ns", "ns", "ns");
  if (throughput) fmt::print(to, "(ns a message, over runs of 1,024)\n");
}

void print_row(std::FILE* to, const bench::measured& m) {
  fmt::print(to, "{:<17} {:>8} {:>8.1f} {:>8.0f} {:>8.0f} {:>9.0f} {:>10.0f} {:>9.3f}  {:<5} {:>6.0f}/{:<6.0f} {:>6.2f}  {}\n",
             m.name, m.payload_bytes, m.p50, m.p90, m.p99, m.p999, m.max, m.messages_per_s / 1e6, m.floor_name,
             m.floor_before, m.floor_after, m.ratio, m.regime);
  std::fflush(to);
}

void run(const choices& c, bool throughput) {
  const std::vector<bench::row_type> rows = bench::all_rows();
  std::vector<std::uint32_t> picked;
  if (c.rows.empty()) {
    for (std::uint32_t i = 0; i < rows.size(); ++i) {
      if (rows[i].throughput == throughput) picked.push_back(i);
    }
  }
  for (const std::string& name : c.rows) {
    std::string known;
    std::uint32_t found = 0;
    while (found < rows.size() && rows[found].name != name) known += fmt::format(" {}", rows[found++].name);
    if (found == rows.size()) usage_error(fmt::format("--row {}: there is no such row; there are{}", name, known));
    picked.push_back(found);
  }
  bench::order what;
  what.payload_bytes = c.payload_bytes;
  what.touch_bytes = c.touch_bytes == 0 ? c.payload_bytes : c.touch_bytes;
  what.rate = c.rate;
  if (what.touch_bytes > what.payload_bytes) usage_error("--touch is more than --payload");

  const std::vector<int> cpus = chosen_cpus(c);
  std::FILE* json = nullptr;
  if (c.json == "-") {
    json = stdout;
  } else if (!c.json.empty()) {
    json = std::fopen(c.json.c_str(), "w");
    if (json == nullptr) throw std::runtime_error(fmt::format("cannot write {}: {}", c.json, std::strerror(errno)));
  }
  std::FILE* const table = json == stdout ? stderr : stdout;
  fmt::print(table, "CPUs {} and {}; each row beside its floor, measured right before and after it in the same two processes\n",
             cpus[0], cpus[1]);
  print_head(table, throughput);
  const auto make = [&](const bench::order& o, bool asks) { return rows[o.row].make(o, asks); };
  for (const std::uint32_t i : picked) {
    if (rows[i].polls && cpus[0] == cpus[1]) {
      fmt::print(table, "{:<17} not measured: it polls, and needs two CPUs; this process may use one\n", rows[i].name);
      continue;
    }
    if (rows[i].make == nullptr && what.touch_bytes > floors::slot_bytes_max) {
      fmt::print(table, "{:<17} not measured: the floor has at most {} bytes\n", rows[i].name, floors::slot_bytes_max);
      continue;
    }
    // A pair of processes for each row: none inherits the caches' and the heap's state from the one before.
    bench::pair_runner pair(cpus[0], cpus[1], make);
    const bench::measured m = bench::measure(pair, rows[i], i, what, c.seconds);
    print_row(table, m);
    if (json != nullptr) {
      fmt::print(json, "{}\n", to_json(m).dump());
      std::fflush(json);
    }
  }
  if (json != nullptr && json != stdout) std::fclose(json);
}

void add_options(CLI::App& command, choices& c) {
  command.add_option("--row", c.rows, "Only this row; may be given several times")->take_all();
  command.add_option("--payload", c.payload_bytes, "Bytes of a message (64)")->check(CLI::Range(1, 1 << 24));
  command.add_option("--touch", c.touch_bytes, "Bytes of it that are written and read (all)");
  command.add_option("--seconds", c.seconds, "For each row (1)")->check(CLI::Range(0.01, 3600.0));
  command.add_option("--cpus", c.cpus, "The two CPUs, as in 0,1 (the first two that are allowed)")->delimiter(',');
  command.add_option("--json", c.json, "Write an object a line, a row each, to this file; - is standard output");
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* const group = app.add_subcommand("bench", "Measure on this machine, beside the raw floors");
  group->require_subcommand(1);
  const auto latency_choices = std::make_shared<choices>();
  CLI::App* const latency = group->add_subcommand("latency", "Round trips between two processes");
  add_options(*latency, *latency_choices);
  latency->add_option("--rate", latency_choices->rate,
                      "Round trips a second, timed from when each should have begun (as fast as they go)");
  latency->callback([latency_choices, &status] { run(*latency_choices, false), status = 0; });
  const auto throughput_choices = std::make_shared<choices>();
  CLI::App* const throughput = group->add_subcommand("throughput", "One way, as fast as it goes");
  add_options(*throughput, *throughput_choices);
  throughput->callback([throughput_choices, &status] { run(*throughput_choices, true), status = 0; });
}

}  // namespace cli
