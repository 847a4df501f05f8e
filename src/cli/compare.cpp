// quoit bench compare.
#include "compare/compare.hpp"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "bench_options.hpp"
#include "commands.hpp"
#include "compare/report.hpp"
#include "floors/clock.hpp"
#include "html/page.hpp"
#include "supervise.hpp"

namespace cli {

namespace {

struct compare_choices {
  std::vector<std::uint64_t> sizes;
  double seconds = 0.3;
  std::string cpus;
  std::string json;
  std::string html;
};

std::vector<std::uint64_t> sizes_of(const std::vector<std::uint64_t>& asked_for) {
  for (const std::uint64_t bytes : asked_for) {
    if (bytes % 8 != 0 || bytes < bench::compare_bytes_min || bytes > bench::compare_bytes_max)
      usage_error(fmt::format("--sizes {}: give multiples of 8, up to {}", bytes, bench::compare_bytes_max));
  }
  // Plots and tables go from the smallest to the largest, and have each once.
  std::vector<std::uint64_t> sizes = asked_for;
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

std::string command_of(const compare_choices& c) {
  std::string text = fmt::format("quoit bench compare --seconds {}", c.seconds);
  for (std::size_t i = 0; i < c.sizes.size(); ++i) text += fmt::format("{}{}", i == 0 ? " --sizes " : ",", c.sizes[i]);
  if (!c.cpus.empty()) text += " --cpus " + c.cpus;
  return text;
}

void run(const compare_choices& c) {
  bench::compare_request wanted;
  wanted.cpus = cpus_of(c.cpus);
  wanted.seconds = c.seconds;
  if (!c.sizes.empty()) wanted.sizes = sizes_of(c.sizes);
  // Opened before minutes of measuring, not after them.
  output_file json(c.json), html(c.html);
  std::FILE* const table = json.is_stdout() || html.is_stdout() ? stderr : stdout;
  wanted.says = [](const std::string& how_far) {
    fmt::print(stderr, "{}\n", how_far);
    std::fflush(stderr);
  };
  bench::clean_up_after_earlier_runs();
  bench::machine where = bench::this_machine();
  where.pair = wanted.cpus;
  where.seconds = c.seconds;
  where.command = command_of(c);
  const std::uint64_t begin = floors::monotonic_ns();
  const bench::comparison found = bench::compare(wanted);
  where.took = static_cast<double>(floors::monotonic_ns() - begin) * 1e-9;
  fmt::print(table, "{}, {}; CPUs {} and {}; in {:.0f} s\n{}", where.cpu, where.kernel, where.pair.asks,
             where.pair.answers, where.took, bench::tables_of(found));
  if (where.load > bench::busy_load) fmt::print(table, "{}\n", bench::busy_words(where));
  std::fflush(table);
  json.write(bench::json_of(found, where));
  html.write(bench::html_of(found, where));
  if (html) fmt::print(stderr, "the page: {}\n", c.html);
}

}  // namespace

void add_compare(CLI::App& group) {
  CLI::App* const command = group.add_subcommand(
      "compare", "What sharing memory buys: the same work over shared memory, the kernel path, pipes, sockets");
  const auto c = std::make_shared<compare_choices>();
  command->add_option("--html", c->html, "Write a page with plots to this file; it needs nothing else");
  command->add_option("--json", c->json, "Write an object a line, a row each, to this file; - is standard output");
  command->add_option("--seconds", c->seconds, "For each row (0.3); 117 rows take about two minutes then")
      ->check(CLI::Range(0.01, 3600.0));
  command->add_option("--sizes", c->sizes, "Bytes of a message, as in 64,4096 (8 B to 4 MiB in eight steps)")
      ->delimiter(',');
  command->add_option("--cpus", c->cpus,
                      "The two CPUs, as in 0,1 (two that are allowed, of different cores if possible)");
  command->footer(
      "Each message is produced (every word of it written) on one side and consumed (every word read) on the other,\n"
      "whichever way it goes:\n"
      "  shm.loan    in shared memory: produced in the loan, consumed in the sample\n"
      "  shm.copy    the same, produced and consumed in private buffers: a copy in, a copy out\n"
      "  kernel      as shm.loan, on the kernel path\n"
      "  pipe        write and read\n"
      "  socketpair  send and recv, a pair of UNIX stream sockets\n"
      "asleep: both sides sleep while they wait. polling: both spin, which only shared memory can without system "
      "calls.\n"
      "Copies and calls are of a message, in both processes, counted in a run by itself that is traced and not timed.\n"
      "What floors and regimes are: docs/performance.md");
  command->callback([c] { run(*c); });
}

}  // namespace cli
