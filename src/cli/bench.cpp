// quoit bench latency, quoit bench throughput.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench_options.hpp"
#include "commands.hpp"
#include "measure.hpp"
#include "report.hpp"
#include "supervise.hpp"

namespace cli {

namespace {

struct bench_choices {
  std::vector<std::string> rows;
  std::optional<std::uint64_t> payload_bytes;
  std::optional<std::uint64_t> touch_bytes;
  double seconds = 1;
  double rate = 0;
  std::string cpus;
  std::string json;
};

bench::request request_of(const bench_choices& c) {
  bench::request wanted;
  wanted.cpus = cpus_of(c.cpus);
  wanted.payload_asked_for = c.payload_bytes;
  wanted.touch_asked_for = c.touch_bytes;
  wanted.seconds = c.seconds;
  wanted.rate = c.rate;
  return wanted;
}

// Rows that were named; or else all of the kind that can be measured as asked.
std::vector<const bench::row_type*> rows_of(const bench_choices& c, const bench::request& wanted, bool one_way) {
  std::vector<const bench::row_type*> picked;
  std::string known;
  for (const bench::row_type& row : bench::all_rows()) {
    known += fmt::format(" {}", row.name);
    if (c.rows.empty() && row.one_way == one_way && (wanted.rate == 0 || row.make != nullptr)) picked.push_back(&row);
  }
  for (const std::string& name : c.rows) {
    const bench::row_type* found = nullptr;
    for (const bench::row_type& row : bench::all_rows()) {
      if (row.name == name) found = &row;
    }
    if (found == nullptr) usage_error(fmt::format("--row {}: there is no such row; there are{}", name, known));
    picked.push_back(found);
  }
  for (const bench::row_type* row : picked) {
    const std::uint64_t payload_bytes = bench::size_of(*row, wanted).payload_bytes;
    if (!row->payload_fixed && c.touch_bytes.value_or(0) > payload_bytes) {
      usage_error(fmt::format("--touch {}: a message of {} has {} bytes", *c.touch_bytes, row->name, payload_bytes));
    }
  }
  return picked;
}

void run(const bench_choices& c, bool one_way, int& status) {
  const bench::request wanted = request_of(c);
  const std::vector<const bench::row_type*> rows = rows_of(c, wanted, one_way);
  output_file json(c.json);
  std::FILE* const table = json.is_stdout() ? stderr : stdout;
  bench::clean_up_after_earlier_runs();
  fmt::print(
      table,
      "CPUs {} and {}; each row beside its floor, measured right before and after it in the same two processes\n",
      wanted.cpus.asks, wanted.cpus.answers);
  if (one_way)
    fmt::print(
        table,
        "times are a message's share of the time that 1,024 took; of executor.idle, what a second costs in CPU time\n");
  fmt::print(table, "{}", bench::table_head());
  std::fflush(table);
  for (const bench::row_type* row : rows) {
    std::string why = bench::objection(*row, wanted);
    if (why.empty()) why = bench::kernel_lacks(*row);
    if (!why.empty()) {
      fmt::print(table, "{:<22} not measured: {}\n", row->name, why);
      // Who names a row wants it.
      if (!c.rows.empty()) status = exit_failed;
      continue;
    }
    const bench::measured measured = bench::measure(*row, wanted);
    fmt::print(table, "{}", bench::table_line(measured));
    std::fflush(table);
    json.write(bench::json_line(measured) + "\n");
  }
}

void add_bench_options(CLI::App& command, bench_choices& c) {
  command.add_option("--row", c.rows, "Only this row; may be given several times")->expected(1)->take_all();
  command.add_option("--payload", c.payload_bytes, "Bytes of a message (64)")->check(CLI::Range(1, 1 << 24));
  command.add_option("--touch", c.touch_bytes, "Bytes of it that are written and read (all)")
      ->check(CLI::Range(1, 1 << 24));
  command.add_option("--seconds", c.seconds, "For each row (1)")->check(CLI::Range(0.01, 3600.0));
  command.add_option("--cpus", c.cpus,
                     "The two CPUs, as in 0,1 (two that are allowed, of different cores if possible)");
  command.add_option("--json", c.json, "Write an object a line, a row each, to this file; - is standard output");
}

std::string row_list(bool one_way) {
  std::string text = "Rows:\n";
  for (const bench::row_type& row : bench::all_rows()) {
    if (row.one_way == one_way) text += fmt::format("  {:<22} {}\n", row.name, row.shows);
  }
  return text +
         "\nratio is p50 to the floor's p50. A row whose floor moved is measured again, five times at most, and then\n"
         "called unstable. calls are sleeps, system calls that wake, and calls of io_uring_enter, for each message in\n"
         "both processes. cpu % is of one core: the asking process, which spins while it waits for its next turn at a\n"
         "rate, and the answering one.";
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* const group = app.add_subcommand("bench", "Measure on this machine, beside the raw floors");
  require_subcommand(*group);
  const auto latency_choices = std::make_shared<bench_choices>();
  CLI::App* const latency = group->add_subcommand("latency", "Round trips between two processes");
  add_bench_options(*latency, *latency_choices);
  latency
      ->add_option("--rate", latency_choices->rate,
                   "Round trips a second, timed from when each should have begun (as fast as they go)")
      ->check(CLI::Range(0.1, 1e9));
  latency->footer(row_list(false));
  latency->callback([latency_choices, &status] { run(*latency_choices, false, status); });
  const auto throughput_choices = std::make_shared<bench_choices>();
  CLI::App* const throughput = group->add_subcommand("throughput", "One way, as fast as it goes");
  add_bench_options(*throughput, *throughput_choices);
  throughput->footer(row_list(true));
  throughput->callback([throughput_choices, &status] { run(*throughput_choices, true, status); });
  add_compare(*group);
}

}  // namespace cli
