#include "tables.hpp"

#include <fmt/core.h>

#include <cmath>

#include "../compare/report.hpp"
#include "text.hpp"

namespace bench::html {

namespace {

std::string boxed(const std::string& name, const std::string& table) {
  return fmt::format(
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table>\n{}</table></div>\n",
      escaped(name), table);
}

std::string cell(const std::string& words) { return fmt::format("<td>{}</td>", escaped(words)); }

std::string calls_of(const counted& c) {
  std::string words;
  for (const auto& [name, times] : c.calls_by_name) {
    words += fmt::format("{}{} {}", words.empty() ? "" : ", ", words_of_count(times), name);
  }
  return words.empty() ? "none" : words;
}

std::string line_of(const compared& row, bool first) {
  std::string line = fmt::format("<tr{} data-row=\"{}\" data-bytes=\"{}\">", first ? " class=\"first\"" : "",
                                 escaped(name_of(row)), row.payload_bytes);
  line += cell(name_of(row.by.by)) + cell(waits_of(row.by)) + cell(words_of_bytes(row.payload_bytes));
  if (!row.not_measured.empty())
    return line +
           fmt::format("<td class=\"words\" colspan=\"10\">not measured: {}</td></tr>\n", escaped(row.not_measured));
  const timed& t = row.time;
  line += cell(words_of_time(t.time)) + cell(words_of_rate(t.messages_per_s * static_cast<double>(row.payload_bytes)));
  if (row.counts) {
    line += cell(words_of_count(row.counts->copies)) +
            cell(words_of_bytes(static_cast<std::uint64_t>(std::llround(row.counts->bytes_copied)))) +
            cell(words_of_count(row.counts->calls));
  } else {
    line += fmt::format("<td class=\"words\" colspan=\"3\">not counted: {}</td>", escaped(row.not_counted));
  }
  line += cell(words_of_time(t.cpu_us * 1e3)) + cell(words_of_count(t.sleeps));
  line += cell(fmt::format("{} {}", name_of(t.floor), words_of_time((t.floor_before + t.floor_after) / 2)));
  line += cell(t.regime == regime::unstable ? fmt::format("unstable: {}", words_of(t.why)) : name_of(t.regime));
  return line + fmt::format("<td class=\"words\">{}</td></tr>\n", row.counts ? escaped(calls_of(*row.counts)) : "");
}

}  // namespace

std::string table_of(const comparison& c, job what_for) {
  std::string table = fmt::format(
      "<thead><tr><th>way</th><th>waits</th><th>message</th><th>{}</th><th>payload/s</th><th>copies</th><th>copied</th>"
      "<th>calls</th><th>CPU</th><th>sleeps</th><th>floor beside it</th><th>regime</th><th>calls by "
      "name</th></tr></thead>\n",
      what_for == job::round_trip ? "round trip" : "time");
  table += "<tbody>\n";
  std::uint64_t before = 0;
  for (const compared& row : c.rows) {
    if (row.what_for != what_for) continue;
    table += line_of(row, before != 0 && before != row.payload_bytes);
    before = row.payload_bytes;
  }
  return boxed(fmt::format("All figures: {}", name_of(what_for)), table + "</tbody>\n");
}

std::string floor_table_of(const comparison& c) {
  std::string table = "<thead><tr><th>floor</th><th>job</th><th>message</th><th>time</th></tr></thead>\n<tbody>\n";
  for (const lower_bound& f : c.floors) {
    table += fmt::format("<tr data-floor=\"{0}\">{1}{2}{3}{4}</tr>\n", escaped(f.name), cell(f.name),
                         cell(name_of(f.what_for)), cell(words_of_bytes(f.payload_bytes)), cell(words_of_time(f.time)));
  }
  return boxed("The floors", table + "</tbody>\n");
}

}  // namespace bench::html
