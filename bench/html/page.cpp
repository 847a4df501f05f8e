#include "page.hpp"

#include <fmt/core.h>

#include "../compare/report.hpp"
#include "figures.hpp"
#include "style.hpp"
#include "tables.hpp"
#include "text.hpp"

namespace bench {

namespace {

using html::escaped;

const compared* row_of(const comparison& c, job what_for, std::uint64_t bytes, way w) {
  for (const compared& row : c.rows) {
    if (row.what_for == what_for && row.payload_bytes == bytes && row.by.by == w.by && row.by.polls == w.polls &&
        row.not_measured.empty())
      return &row;
  }
  return nullptr;
}

std::string card(const std::string& figure, const std::string& words, bool steady) {
  return fmt::format("<li><b>{}</b>{}{}</li>\n", escaped(figure), escaped(words),
                     steady ? "" : " <span class=\"soft\">(unsteady while measured)</span>");
}

bool steady(const compared& row) { return row.time.regime != regime::unstable; }

// Shared memory asleep against the fastest way through the kernel, which sleeps as well.
std::string against_kernel(const comparison& c, job what_for, std::uint64_t bytes, const char* what) {
  const compared* const loan = row_of(c, what_for, bytes, {carrier::loan, false});
  const compared* best = nullptr;
  for (const carrier by : {carrier::kernel, carrier::pipe, carrier::socketpair}) {
    const compared* const row = row_of(c, what_for, bytes, {by, false});
    if (row != nullptr && (best == nullptr || row->time.time < best->time.time)) best = row;
  }
  if (loan == nullptr || best == nullptr) return {};
  return card(fmt::format("{:.1f}×", best->time.time / loan->time.time),
              fmt::format("as fast: {}, shared memory against the fastest way through the kernel here ({}), all asleep",
                          what, name_of(best->by.by)),
              steady(*loan) && steady(*best));
}

std::string cards_of(const comparison& c) {
  const std::uint64_t small = html::size_up_to(c, 64), large = html::size_up_to(c, 1 << 20);
  const std::string large_words = words_of_bytes(large);
  std::string cards = against_kernel(c, job::one_way, large, ("one way, messages of " + large_words).c_str());
  cards += against_kernel(c, job::round_trip, large, ("round trips of " + large_words).c_str());
  const compared* const polled = row_of(c, job::round_trip, small, {carrier::loan, true});
  const compared* const asleep = row_of(c, job::round_trip, small, {carrier::loan, false});
  if (polled != nullptr && asleep != nullptr) {
    cards +=
        card(words_of_time(polled->time.time),
             fmt::format("there and back with {} while both sides poll; {} asleep, nearly all of it the kernel's wake",
                         words_of_bytes(small), words_of_time(asleep->time.time)),
             steady(*polled) && steady(*asleep));
  }
  const way loan{carrier::loan, false}, kernel{carrier::kernel, false};
  const compared* const file = row_of(c, job::file_transfer, file_part_bytes, loan);
  const compared* const slow = row_of(c, job::file_transfer, file_part_bytes, kernel);
  if (file != nullptr && slow != nullptr) {
    cards += card(
        fmt::format("{:.1f}×", times_as_fast(c, job::file_transfer, file_part_bytes, loan, kernel)),
        fmt::format("as fast: a file from one process to the other through shared memory, against the kernel path; "
                    "{} against {} of CPU time for {}",
                    words_of_time(file->time.cpu_us * 1e3), words_of_time(slow->time.cpu_us * 1e3),
                    words_of_bytes(file_part_bytes)),
        steady(*file) && steady(*slow));
  }
  return cards.empty() ? cards : "<ul class=\"cards\">\n" + cards + "</ul>\n";
}

std::string section(const char* title, const char* words, const std::string& figures, const char* more_class,
                    const std::string& below) {
  return fmt::format(
      "<section>\n<h2>{}</h2>\n<p class=\"soft\">{}</p>\n<div class=\"figures{}\">\n{}</div>\n{}</section>\n", title,
      words, more_class, figures, below);
}

std::string entry(const char* what, const std::string& words) {
  return words.empty() ? std::string() : fmt::format("<dt>{}</dt><dd>{}</dd>\n", what, escaped(words));
}

std::string machine_of(const machine& m) {
  std::string out = "<section>\n<h2>The machine</h2>\n<dl>\n";
  out += entry("processor", m.cpu) + entry("kernel", m.kernel);
  out += entry("CPUs", fmt::format("{} and {}, of {} that may be used", m.pair.asks, m.pair.answers, m.cpus));
  out += entry("load before", fmt::format("{:.2f}", m.load)) + entry("compiler", m.compiler);
  out += entry("quoit", m.version) + entry("began", m.began);
  out += entry("took", fmt::format("{:.0f} s, {:g} s for each row", m.took, m.seconds));
  out += fmt::format("<dt>command</dt><dd><code>{}</code></dd>\n", escaped(m.command));
  return out + "</dl>\n</section>\n";
}

constexpr char how[] = R"(<section>
<h2>What was compared, and how</h2>
<p>Each message is <em>produced</em> in one process (every word of it is written) and <em>consumed</em> in another one (every word
is read, and the sum is checked), whichever way it goes:</p>
<dl>
<dt>shm.loan</dt><dd>quoit in shared memory: produced in the loan, consumed in the sample</dd>
<dt>shm.copy</dt><dd>the same, produced and consumed in private buffers: one copy in, one copy out</dd>
<dt>kernel</dt><dd>quoit's kernel path: loans and samples alike, a SOCK_SEQPACKET socket in between; what is larger than a packet
goes in several messages</dd>
<dt>pipe</dt><dd>private buffers, <code>write</code> and <code>read</code></dd>
<dt>socketpair</dt><dd>private buffers, <code>send</code> and <code>recv</code>, a pair of UNIX stream sockets</dd>
</dl>
<p><em>Asleep</em>: both sides sleep in the kernel while they have to wait. <em>Polling</em>: both spin, which only shared memory can
without system calls. All ways of one size ran in the same two processes, pinned to the same two CPUs, turn about.</p>
<p>A <em>floor</em> is a plain program that does the least a way could cost, run right before and after each slice of it. Where it was
not the same, or should have slept and did not, the slice was thrown away and measured again; a row for which that did not help is
<em>unstable</em>, and drawn hollow. The <em>regime</em> says how far apart the two CPUs were: smt (one core), near, far.</p>
<p>Times are medians of round trips; else the whole time divided by the messages. CPU time and sleeps are what the kernel counts
of both processes (getrusage), for a message. Copies and system calls were counted in another run of the same work, traced with
ptrace and not timed: every call of every thread of both processes, and of calls like <code>read</code> and <code>send</code> the bytes
that they say they copied; what the programs copy by themselves, they count. Who is traced sleeps at other moments, so that the
calls of ways that sleep may be some more or less than in the run that was timed. For the file, the source is in the page cache and the
target in a tmpfs, its pages there beforehand; the disk is no part of it.</p>
</section>
)";

}  // namespace

std::string html_of(const comparison& c, const machine& where) {
  std::string body = "<h1>What sharing memory buys on this machine</h1>\n";
  body += fmt::format("<p class=\"soft\">quoit bench compare, {}, {}</p>\n", escaped(where.cpu), escaped(where.began));
  if (where.load > busy_load) body += fmt::format("<p>{}</p>\n", busy_words(where));
  body += cards_of(c);
  body += section("There and back", "A message, and one of the same size back. Both axes are logarithmic.",
                  html::round_trip_figures(c), "", "");
  body += section("One way", "One message after the other, as fast as they are taken. Both axes are logarithmic.",
                  html::one_way_figures(c), "", "");
  body += section("What a message costs", "Of round trips; for one message, in both processes together.",
                  html::cost_figures(c), " three", "");
  body += section("A file", "read(2) in one process, write(2) in the other, in parts, all asleep while they wait.",
                  html::file_figures(c), " three", fmt::format("<p>{}</p>\n", escaped(file_transfer_verdict(c))));
  body += "<section>\n<h2>All figures</h2>\n<h3>Round trips</h3>\n" + html::table_of(c, job::round_trip) +
          "<h3>One way</h3>\n" + html::table_of(c, job::one_way) + "<h3>A file</h3>\n" +
          html::table_of(c, job::file_transfer) + "<h3>The least that is possible</h3>\n" + html::floor_table_of(c) +
          "</section>\n";
  body += how + machine_of(where);
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>quoit: what sharing memory buys</title>\n<link rel=\"icon\" "
      "href=\"data:,\">\n<style>{}</style>\n</head>\n"
      "<body>\n<main>\n{}</main>\n</body>\n</html>\n",
      html::style, body);
}

}  // namespace bench
