#include "measure.hpp"

#include <algorithm>
#include <quoit/executor.hpp>
#include <stdexcept>

#include "pair_runner.hpp"
#include "supervise.hpp"

namespace bench {

namespace {

constexpr int attempts_max = 5;
// A row was measured on cores as far apart as the floor was if nearly all looks between its orders say so.
constexpr double stray_share_max = 0.1;
constexpr double stray_tolerance = 0.5;

double ns(double ticks) { return ticks * floors::ns_per_tick(); }
double ns(std::uint64_t ticks) { return ns(static_cast<double>(ticks)); }
double median_ns(const histogram& h) { return ns(h.median(floors::step_ticks())); }

class measurement {
 public:
  measurement(pair_runner& pair, const row_type& row, const request& wanted, const char* bus)
      : pair_(pair), row_(row), wanted_(wanted) {
    const message_size size = size_of(row, wanted);
    order_.payload_bytes = size.payload_bytes;
    order_.touch_bytes = size.touch_bytes;
    order_.rate = wanted.rate;
    order_.yields = wanted.cpus.asks == wanted.cpus.answers;
    std::snprintf(order_.bus, sizeof order_.bus, "%s", bus);
    // Large messages take longer.
    order_.turns = std::clamp<std::uint64_t>(row.turns * 4096 / std::max<std::uint64_t>(size.touch_bytes, 4096),
                                             std::min<std::uint64_t>(row.turns, 50), row.turns);
    out_.name = row.name;
    out_.payload_bytes = size.payload_bytes;
    out_.touch_bytes = size.touch_bytes;
    out_.rate = wanted.rate;
    out_.cpus[0] = wanted.cpus.asks;
    out_.cpus[1] = wanted.cpus.answers;
    out_.floor = row.floor;
  }

  measured run() {
    if (row_.make != nullptr) pair_.open(order_);
    out_.attempts = 1;
    while (!once() && out_.attempts < attempts_max) ++out_.attempts;
    if (row_.make != nullptr) pair_.close();
    return out_;
  }

 private:
  // False if the floors say that nothing can be said.
  bool once() {
    floor_awake_ = false;
    // Two sides that spin on one CPU wait for each other for whole time slices.
    const bool line = !order_.yields;
    if (line) out_.line_before = floor_ns(floor_kind::line);
    out_.floor_before = floor_ns(row_.floor);
    bool strayed = line_strays();
    strayed = measure_row() || strayed;
    strayed = line_strays() || strayed;
    out_.floor_after = floor_ns(row_.floor);
    if (line) out_.line_after = floor_ns(floor_kind::line);
    out_.ratio = out_.p50 / ((out_.floor_before + out_.floor_after) / 2);
    out_.regime = line ? regime_of(out_.line_before) : regime::same_cpu;
    // Who sleeps does not notice how far the cores are apart.
    const bool line_moved = row_.polls && (moved(out_.line_before, out_.line_after) ||
                                           out_.regime != regime_of(out_.line_after) || strayed);
    const bool floor_moved = moved(out_.floor_before, out_.floor_after);
    out_.why = floor_awake_  ? doubt::floor_awake
               : row_awake_  ? doubt::row_awake
               : floor_moved ? doubt::floor_moved
               : line_moved  ? doubt::cores_moved
                             : doubt::none;
    if (out_.why == doubt::none) return true;
    out_.regime = regime::unstable;
    return false;
  }

  double floor_ns(floor_kind kind) {
    histogram h;
    run_floor(kind, floor_turns(kind), order_.touch_bytes, h);
    return median_ns(h);
  }
  usage_of_both run_floor(floor_kind kind, std::uint64_t turns, std::uint64_t bytes, histogram& h) {
    bool asleep = true;
    const usage_of_both used = pair_.steady_floor(kind, turns, bytes, h, asleep);
    floor_awake_ = floor_awake_ || !asleep;
    return used;
  }
  std::uint64_t floor_turns(floor_kind kind) const {
    switch (kind) {
      case floor_kind::line: return 20'000;
      case floor_kind::slot:
        return std::clamp<std::uint64_t>(20'000 * 256 / std::max<std::uint64_t>(order_.touch_bytes, 1), 200, 20'000);
      case floor_kind::futex:
      case floor_kind::futex_timed:
      case floor_kind::futex_ring:
      case floor_kind::pipe_ring:
      case floor_kind::pipe_epoll: return 4'000;
      case floor_kind::seqpacket:
      case floor_kind::echo:
        return std::clamp<std::uint64_t>(4'000 * 4096 / std::max<std::uint64_t>(order_.touch_bytes, 1), 100, 4'000);
      case floor_kind::echo_spin:
        return std::clamp<std::uint64_t>(10'000 * 4096 / std::max<std::uint64_t>(order_.touch_bytes, 1), 100, 10'000);
    }
    return 0;
  }
  // Whether the cores are as far apart as they were before the row.
  bool line_strays() {
    if (!row_.polls) return false;
    histogram h;
    pair_.floor(floor_kind::line, 200, 0, h);
    return moved(out_.line_before, median_ns(h), stray_tolerance);
  }

  // True if the cores were not as far apart as before all the time.
  bool measure_row() {
    histogram h, warm;
    const bool at_rate = wanted_.rate > 0;
    order one = order_;
    if (at_rate) {
      const double turns = wanted_.rate * std::min(0.1, wanted_.seconds / 5);
      one.turns = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(turns), 1, row_.turns);
    }
    // Pages, caches, branch predictors.
    if (row_.make != nullptr) pair_.run(one, warm);
    // The last turn is due just before the time is over. A rate that cannot be kept ends at twice the time.
    const std::uint64_t turns_due =
        at_rate ? std::max<std::uint64_t>(static_cast<std::uint64_t>(wanted_.rate * wanted_.seconds), 1)
                : ~std::uint64_t{0};
    const double seconds_max = wanted_.seconds * (at_rate ? 2 : 1);
    usage_of_both used;
    std::uint64_t busy_ns = 0, orders = 0, strays = 0, turns = 0;
    const std::uint64_t begin = floors::monotonic_ns();
    do {
      one.first_turn = turns;
      one.turns = std::min(one.turns, turns_due - turns);
      const std::uint64_t order_begin = floors::monotonic_ns();
      used += row_.make != nullptr ? pair_.run(one, h) : run_floor(row_.floor, one.turns, one.touch_bytes, h);
      busy_ns += floors::monotonic_ns() - order_begin;
      turns += one.turns;
      ++orders;
      // A schedule does not wait.
      if (!at_rate) strays += line_strays() ? 1 : 0;
    } while (turns < turns_due && static_cast<double>(floors::monotonic_ns() - begin) < seconds_max * 1e9);
    fill(h, used, turns, busy_ns);
    return static_cast<double>(strays) > stray_share_max * static_cast<double>(orders);
  }

  void fill(const histogram& h, const usage_of_both& by_side, std::uint64_t turns, std::uint64_t busy_ns) {
    // Round trips as fast as they go, by sides that should sleep while they wait.
    const bool sleeps = row_.make != nullptr && !row_.polls && !row_.one_way && wanted_.rate == 0 && !order_.yields;
    const std::uint64_t asks = row_.threads ? by_side.asks.sleeps / 2 : by_side.asks.sleeps;
    row_awake_ = sleeps && !slept(asks, row_.threads ? asks : by_side.answers.sleeps, turns);
    usage used = by_side.asks;
    used += by_side.answers;
    const double seconds = static_cast<double>(busy_ns) * 1e-9;
    const double messages = static_cast<double>(turns * (row_.one_way ? 1 : 2));
    out_.turns = turns;
    out_.p50 = median_ns(h);
    out_.p90 = ns(h.at(0.9));
    out_.p99 = ns(h.at(0.99));
    out_.p999 = ns(h.at(0.999));
    out_.p9999 = ns(h.at(0.9999));
    out_.max = ns(h.max());
    out_.messages_per_s = messages / seconds;
    if (row_.polls) out_.cpu_share = std::min(used.cpu_seconds / (2 * seconds), 1.0);
    out_.cpu_us = used.cpu_seconds * 1e6 / messages;
    out_.sleeps = static_cast<double>(used.sleeps) / messages;
    out_.wakes = static_cast<double>(used.wakes) / messages;
    out_.enters = static_cast<double>(used.enters) / messages;
    // Who waits in io_uring_enter sleeps there.
    out_.calls = out_.wakes + (used.enters != 0 ? out_.enters : out_.sleeps);
    out_.cpu_percent[0] = by_side.asks.cpu_seconds / seconds * 100;
    out_.cpu_percent[1] = by_side.answers.cpu_seconds / seconds * 100;
  }

  pair_runner& pair_;
  const row_type& row_;
  const request& wanted_;
  order order_;
  measured out_;
  bool floor_awake_ = false;
  bool row_awake_ = false;
};

// What the measuring processes say to the one that waits for them.
struct report {
  pair_state pair;
  measured row;
};

int measure_here(report& to, const row_type& row, const request& wanted, const char* bus) {
  // The floors take a second at most, opening half a minute where locks are held.
  end_after(to.pair, static_cast<unsigned>(attempts_max * (2 * wanted.seconds + 2) * 2 + 60));
  try {
    pair_runner pair(to.pair, wanted.cpus, row.make);
    to.row = measurement(pair, row, wanted, bus).run();
    return 0;
  } catch (const std::exception& e) {
    if (to.pair.problem[0] == '\0') std::snprintf(to.pair.problem, sizeof to.pair.problem, "%s", e.what());
    return 1;
  }
}

}  // namespace

message_size size_of(const row_type& row, const request& wanted) {
  message_size size{};
  size.payload_bytes = row.payload_bytes != 0 ? row.payload_bytes : wanted.payload_bytes;
  if (row.payload_fixed) return {size.payload_bytes, size.payload_bytes};
  size.payload_bytes = wanted.payload_asked_for.value_or(size.payload_bytes);
  size.touch_bytes = wanted.touch_asked_for.value_or(row.touch_bytes != 0 ? row.touch_bytes : size.payload_bytes);
  size.touch_bytes = std::min(size.touch_bytes, size.payload_bytes);
  return size;
}

std::string objection(const row_type& row, const request& wanted) {
  if (row.polls && wanted.cpus.asks == wanted.cpus.answers)
    return "it polls, and needs two CPUs: both processes would spin on one";
  if (spins(row.floor) && wanted.cpus.asks == wanted.cpus.answers)
    return "its floor polls, and needs two CPUs: both processes would spin on one";
  if (row.make == nullptr && wanted.rate > 0) return "a floor has no fixed rate";
  if (row.one_way && wanted.rate > 0) return "a fixed rate is for round trips";
  if (row.floor == floor_kind::slot && size_of(row, wanted).touch_bytes > floors::slot_bytes_max) {
    return "its floor copies at most " + std::to_string(floors::slot_bytes_max) + " bytes";
  }
  if (row.floor == floor_kind::seqpacket && size_of(row, wanted).touch_bytes > floors::seqpacket_bytes_max) {
    return "its floor sends at most " + std::to_string(floors::seqpacket_bytes_max) + " bytes";
  }
  const bool echoes = row.floor == floor_kind::echo || row.floor == floor_kind::echo_spin;
  if (echoes && size_of(row, wanted).payload_bytes > floors::echo_bytes_max)
    return "its floor sends at most " + std::to_string(floors::echo_bytes_max) + " bytes";
  if (echoes && size_of(row, wanted).touch_bytes != size_of(row, wanted).payload_bytes)
    return "all of it is sent: --touch means nothing";
  return {};
}

std::string kernel_lacks(const row_type& row) {
  quoit::executor_options with{.engine = quoit::io_engine::io_uring, .rung = quoit::rung::pipe};
  switch (row.floor) {
    case floor_kind::futex_ring: with.rung = quoit::rung::futex; break;
    case floor_kind::pipe_ring:
    case floor_kind::echo:
    case floor_kind::echo_spin: break;
    default: return {};
  }
  const auto made = quoit::executor::create(with);
  return made ? std::string() : "its floor stands on io_uring: " + made.error().message();
}

measured measure(const row_type& row, const request& wanted) {
  auto* const state = floors::shared<report>();
  if (state == nullptr) throw std::runtime_error("no memory for the benchmark's own state");
  const std::string bus = bus_of_this_process();
  const bool good = supervise([&] { return measure_here(*state, row, wanted, bus.c_str()); });
  const measured row_measured = state->row;
  const std::string problem = state->pair.problem;
  ::munmap(state, sizeof *state);
  if (good) return row_measured;
  throw std::runtime_error(std::string(row.name) + ": " + (problem.empty() ? "the measuring process died" : problem));
}

}  // namespace bench
