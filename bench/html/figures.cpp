#include "figures.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "../compare/report.hpp"

namespace bench::html {

namespace {

double bytes_per_s(const compared& row) { return row.time.messages_per_s * static_cast<double>(row.payload_bytes); }

std::string words_of(const compared& row) {
  const bool round_trip = row.what_for == job::round_trip;
  return fmt::format("{}, {}: {}{}", html::name_of(row.by), words_of_bytes(row.payload_bytes),
                     round_trip ? words_of_time(row.time.time) : words_of_rate(bytes_per_s(row)),
                     row.time.regime == regime::unstable ? fmt::format(" (unstable: {})", words_of(row.time.why)) : "");
}

series series_of(const comparison& c, job what_for, const way& w, look how) {
  series s{html::name_of(w), how, {}};
  for (const compared& row : c.rows) {
    if (row.what_for != what_for || row.by.by != w.by || row.by.polls != w.polls || !row.not_measured.empty()) continue;
    s.points.push_back({row.payload_bytes, what_for == job::round_trip ? row.time.time : bytes_per_s(row),
                        row.time.regime == regime::unstable, words_of(row)});
  }
  return s;
}

series floor_of(const comparison& c, job what_for, std::string_view floor, const char* style, const char* name) {
  series s{name, {style, look::mark::none}, {}};
  for (const lower_bound& f : c.floors) {
    if (f.what_for != what_for || f.name != floor) continue;
    const double value = what_for == job::round_trip ? f.time : static_cast<double>(f.payload_bytes) / f.time * 1e9;
    s.points.push_back({f.payload_bytes, value, false, {}});
  }
  return s;
}

plot plot_of(std::vector<series> all, std::string title, std::string says, job what_for) {
  std::erase_if(all, [](const series& s) { return s.points.empty(); });
  const bool round_trip = what_for == job::round_trip;
  return {.title = std::move(title),
          .says = std::move(says),
          .y_axis = round_trip ? "time of a round trip, median; less is better" : "payload a second; more is better",
          .tick_words = round_trip ? +[](double ns) { return words_of_tick_time(ns); }
                                   : +[](double rate) { return words_of_tick_rate(rate); },
          .all = std::move(all)};
}

std::string asleep_figure(const comparison& c, job what_for) {
  std::vector<series> all;
  for (const way& w : ways) {
    if (!w.polls) all.push_back(series_of(c, what_for, w, look_of(w)));
  }
  all.push_back(floor_of(c, what_for, "futex", "floor", "floor: futex, the kernel's wait and wake"));
  all.push_back(floor_of(c, what_for, "seqpacket", "floor2", "floor: send and recv of a packet"));
  if (what_for == job::one_way) all.push_back(floor_of(c, what_for, "work", "floor3", "floor: the work alone"));
  return figure_of(plot_of(
      std::move(all),
      what_for == job::round_trip ? "Round trip, all asleep while they wait" : "One way, all asleep while they wait",
      "Each way by the size of its messages; both processes sleep in the kernel while they wait. The "
      "tables below have the figures.",
      what_for));
}

std::string polling_figure(const comparison& c, job what_for) {
  std::vector<series> all;
  for (const way& w : ways) {
    if (w.polls) all.push_back(series_of(c, what_for, w, look_of(w)));
  }
  // Polled beside a socket that sleeps would be no comparison: the same memory asleep shows what polling is of it.
  if (all.empty() || all.front().points.empty()) return {};
  all.push_back(series_of(c, what_for, {carrier::loan, false}, {"asleep", look::mark::circle}));
  all.push_back(floor_of(c, what_for, "slot", "floor", "floor: a copy in, a copy out"));
  all.push_back(floor_of(c, what_for, "work", "floor3", "floor: the work alone"));
  return figure_of(plot_of(std::move(all), what_for == job::round_trip ? "Round trip, polling" : "One way, polling",
                           "Shared memory with both processes polling, and for comparison the same asleep. The tables "
                           "below have the figures.",
                           what_for));
}

enum class cost { copies, calls, cpu, rate };

double value_of(const compared& row, cost what) {
  switch (what) {
    case cost::copies: return row.counts ? row.counts->copies : 0;
    case cost::calls: return row.counts ? row.counts->calls : 0;
    case cost::cpu: return row.time.cpu_us;
    case cost::rate: return bytes_per_s(row);
  }
  return 0;
}

std::string words_of(const compared& row, cost what) {
  const bool counted = what == cost::copies || what == cost::calls;
  if (counted && !row.counts) return "not counted";
  switch (what) {
    case cost::copies:
    case cost::calls: return words_of_count(value_of(row, what));
    case cost::cpu: return words_of_time(row.time.cpu_us * 1e3);
    case cost::rate: return words_of_rate(bytes_per_s(row));
  }
  return {};
}

std::string bars_figure(const comparison& c, job what_for, std::uint64_t bytes, cost what, std::string title) {
  bars b{std::move(title), "One bar for each way; its figure stands beside it.", {}};
  for (const compared& row : c.rows) {
    if (row.what_for != what_for || row.payload_bytes != bytes || !row.not_measured.empty()) continue;
    const bool timed = what == cost::cpu || what == cost::rate;
    b.all.push_back({html::name_of(row.by), look_of(row.by).style, value_of(row, what),
                     timed && row.time.regime == regime::unstable, words_of(row, what)});
  }
  return b.all.empty() ? std::string() : figure_of(b);
}

}  // namespace

look look_of(const way& w) {
  switch (w.by) {
    case carrier::loan: return {"loan", look::mark::circle};
    case carrier::copy: return {"copy", look::mark::square};
    case carrier::kernel: return {"kernel", look::mark::triangle};
    case carrier::pipe: return {"pipe", look::mark::diamond};
    case carrier::socketpair: return {"socketpair", look::mark::cross};
  }
  return {"", look::mark::none};
}

std::string name_of(const way& w) { return fmt::format("{}, {}", bench::name_of(w.by), waits_of(w)); }

std::string round_trip_figures(const comparison& c) {
  return asleep_figure(c, job::round_trip) + polling_figure(c, job::round_trip);
}

std::string one_way_figures(const comparison& c) {
  return asleep_figure(c, job::one_way) + polling_figure(c, job::one_way);
}

std::string cost_figures(const comparison& c) {
  const std::uint64_t small = size_up_to(c, 64), large = size_up_to(c, 1 << 20);
  std::string out;
  for (const std::uint64_t bytes : {small, large}) {
    const std::string of = words_of_bytes(bytes);
    out += bars_figure(c, job::round_trip, bytes, cost::copies, fmt::format("Copies of a message of {}", of));
    out += bars_figure(c, job::round_trip, bytes, cost::calls, fmt::format("System calls for a message of {}", of));
    out += bars_figure(c, job::round_trip, bytes, cost::cpu, fmt::format("CPU time for a message of {}", of));
    if (small == large) break;
  }
  return out;
}

std::string file_figures(const comparison& c) {
  return bars_figure(c, job::file_transfer, file_part_bytes, cost::rate, "The file, bytes a second") +
         bars_figure(c, job::file_transfer, file_part_bytes, cost::copies, "Copies of each byte") +
         bars_figure(c, job::file_transfer, file_part_bytes, cost::cpu,
                     fmt::format("CPU time for a part of {}", words_of_bytes(file_part_bytes)));
}

std::uint64_t size_up_to(const comparison& c, std::uint64_t most) {
  std::uint64_t best = 0, smallest = 0;
  for (const compared& row : c.rows) {
    if (row.what_for == job::file_transfer) continue;
    const std::uint64_t bytes = row.payload_bytes;
    if (bytes <= most) best = std::max(best, bytes);
    smallest = smallest == 0 ? bytes : std::min(smallest, bytes);
  }
  return best != 0 ? best : smallest;
}

}  // namespace bench::html
