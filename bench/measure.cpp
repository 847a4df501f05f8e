#include "row.hpp"

namespace bench {

namespace {

constexpr int attempts_max = 5;
constexpr double polled_tolerance = 0.15;
// Sleeping processors wake in a wider spread.
constexpr double blocked_tolerance = 0.25;

double ns(double ticks) { return ticks * floors::ns_per_tick(); }
double ns(std::uint64_t ticks) { return ns(static_cast<double>(ticks)); }

double median_ns(const histogram& h) { return ns(smooth_median(h, clock_step_ticks())); }

double floor_ns(pair_runner& pair, floor_kind kind, std::uint64_t payload_bytes) {
  switch (kind) {
    case floor_kind::line: return median_ns(pair.line(20'000));
    case floor_kind::slot: return median_ns(pair.slot(payload_bytes <= 4096 ? 20'000 : 500, payload_bytes));
    case floor_kind::futex: return median_ns(pair.futex(1'000));
  }
  return 0;
}

// The row itself, for `seconds`.
void run_row(pair_runner& pair, const row_type& row, const order& what, double seconds, measured& out) {
  const auto floor_as_row = [&](std::uint64_t turns) {
    switch (row.floor) {
      case floor_kind::line: return pair.line(turns);
      case floor_kind::slot: return pair.slot(turns, what.payload_bytes);
      default: return pair.futex(turns);
    }
  };
  if (row.make != nullptr) pair.open(what);
  histogram h;
  order one = what;
  one.turns = row.turns;
  // Large messages take longer: an order stays some milliseconds of work.
  if (what.payload_bytes > 4096 && what.touch_bytes > 4096) one.turns = std::max<std::uint64_t>(row.turns / 64, 50);
  if (what.rate > 0) one.turns = std::max<std::uint64_t>(static_cast<std::uint64_t>(what.rate / 10), 10);
  if (row.make != nullptr) {
    // Warm-up: pages, caches, branch predictors.
    histogram warm;
    pair.run(one, warm);
  }
  const usage mine_before = used_so_far();
  const usage theirs_before = pair.answers_used();
  const std::uint64_t begin = floors::monotonic_ns();
  std::uint64_t busy_ns = 0;
  std::uint64_t turns = 0;
  do {
    const std::uint64_t t0 = floors::monotonic_ns();
    if (row.make != nullptr) {
      pair.run(one, h);
    } else {
      h.add(floor_as_row(one.turns));
    }
    busy_ns += floors::monotonic_ns() - t0;
    turns += one.turns;
  } while (static_cast<double>(floors::monotonic_ns() - begin) < seconds * 1e9);
  const usage mine = used_so_far();
  const usage theirs = pair.answers_used();
  if (row.make != nullptr) pair.close();

  const double messages = static_cast<double>(turns) * (row.throughput ? 1 : 2);
  out.turns = turns;
  out.p50 = median_ns(h);
  out.p90 = ns(h.at(0.9));
  out.p99 = ns(h.at(0.99));
  out.p999 = ns(h.at(0.999));
  out.p9999 = ns(h.at(0.9999));
  out.max = ns(h.max());
  out.messages_per_s = messages / (static_cast<double>(busy_ns) * 1e-9);
  out.cpu_us_per_message =
      (mine.cpu_seconds - mine_before.cpu_seconds + theirs.cpu_seconds - theirs_before.cpu_seconds) * 1e6 / messages;
  out.sleeps_per_message =
      static_cast<double>(mine.sleeps - mine_before.sleeps + theirs.sleeps - theirs_before.sleeps) / messages;
}

}  // namespace

measured measure(pair_runner& pair, const row_type& row, std::uint32_t index, order what, double seconds) {
  what.row = index;
  const double tolerance = row.floor == floor_kind::futex ? blocked_tolerance : polled_tolerance;
  measured out;
  out.name = row.name;
  out.payload_bytes = what.payload_bytes;
  out.floor_name = name_of(row.floor);
  for (out.attempts = 1;; ++out.attempts) {
    out.line_before = floor_ns(pair, floor_kind::line, 0);
    out.floor_before = floor_ns(pair, row.floor, what.touch_bytes);
    run_row(pair, row, what, seconds, out);
    out.floor_after = floor_ns(pair, row.floor, what.touch_bytes);
    out.line_after = floor_ns(pair, floor_kind::line, 0);
    out.ratio = out.p50 / ((out.floor_before + out.floor_after) / 2);
    out.regime = regime_of(out.line_before);
    // A row that sleeps does not care how far the cores are apart.
    const bool line_moved = row.polls && (moved(out.line_before, out.line_after, tolerance) ||
                                          regime_of(out.line_before) != regime_of(out.line_after));
    if (!line_moved && !moved(out.floor_before, out.floor_after, tolerance)) return out;
    if (out.attempts == attempts_max) break;
  }
  out.regime = "unstable";
  return out;
}

}  // namespace bench
