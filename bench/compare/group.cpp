#include "group.hpp"

#include <algorithm>
#include <array>
#include <stdexcept>

#include "slices.hpp"
#include "work.hpp"

namespace bench {

namespace {

constexpr std::size_t slices_wanted = 3;
constexpr int rounds_max = 7;
constexpr std::uint64_t blocking_floor_turns = 300;
constexpr std::uint64_t line_floor_turns = 2'000;
// Of the time that two processes which poll could have had.
constexpr double cpu_share_min = 0.85;

double ns(double ticks) { return ticks * floors::ns_per_tick(); }
double median_ns(const histogram& h) { return ns(h.median(floors::step_ticks())); }

order order_of(const group_request& wanted, const char* bus) {
  order o;
  o.payload_bytes = o.touch_bytes = wanted.payload_bytes;
  o.yields = wanted.cpus.asks == wanted.cpus.answers;
  std::snprintf(o.bus, sizeof o.bus, "%s", bus);
  return o;
}

struct slice {
  slice_state state;
  histogram h;
  std::uint64_t turns = 0;
  double elapsed_ns = 0;
  usage_of_both used;
  double floor_before = 0, floor_after = 0;
};

class measurement {
 public:
  measurement(pair_runner& pair, group_report& to, const group_request& wanted, const order& o)
      : pair_(pair), to_(to), wanted_(wanted), order_(o), two_cpus_(!o.yields) {
    slice_ns_ = wanted.seconds / slices_wanted * 1e9;
  }

  void run() {
    measure_work();
    for (std::uint32_t w = 0; w < ways.size(); ++w) {
      if (wanted_.wanted[w]) warm_up(w);
    }
    for (int round = 0; round < rounds_max && !enough(); ++round) {
      if (wanted_.what_for == job::round_trip && wanted_.payload_bytes <= floors::seqpacket_bytes_max)
        floor(floor_kind::seqpacket, nullptr);
      // There and back again: no way always comes after the same other one.
      for (std::uint32_t i = 0; i < ways.size(); ++i) {
        const std::uint32_t w = round % 2 == 0 ? i : static_cast<std::uint32_t>(ways.size()) - 1 - i;
        if (wanted_.wanted[w] && !has_enough(w)) slices_[w].push_back(measure_slice(w));
      }
    }
    for (std::uint32_t w = 0; w < ways.size(); ++w) {
      if (wanted_.wanted[w]) to_.times[w] = summary(w);
    }
    to_.futex_floor = median_of(floor_kind::futex);
    to_.slot_floor = median_of(floor_kind::slot);
    to_.seqpacket_floor = median_of(floor_kind::seqpacket);
  }

 private:
  // Turns of a way, for some of its time; also how long a turn takes.
  usage_of_both turn(std::uint32_t w, std::uint64_t turns, histogram& h, double& elapsed_ns) {
    to_.current = w;
    order one = order_;
    one.way = w;
    one.turns = turns;
    one.first_turn = first_turn_;
    first_turn_ += turns;
    const std::uint64_t begin = floors::monotonic_ns();
    const usage_of_both used = pair_.run(one, h);
    elapsed_ns = static_cast<double>(floors::monotonic_ns() - begin);
    to_.current = no_way;
    return used;
  }

  // Opens the way, fills caches and page tables, and finds out how many turns are a slice.
  void warm_up(std::uint32_t w) {
    histogram unused;
    double elapsed_ns = 0;
    turn(w, 2, unused, elapsed_ns);
    std::uint64_t turns = 4;
    for (;; turns *= 4) {
      turn(w, turns, unused, elapsed_ns);
      if (elapsed_ns > slice_ns_ / 8) break;
    }
    const double wanted = slice_ns_ / (elapsed_ns / static_cast<double>(turns));
    turns_[w] = std::max<std::uint64_t>(static_cast<std::uint64_t>(wanted), 4);
  }

  static floor_kind floor_of(const way& w, std::uint64_t bytes) {
    if (!w.polls) return floor_kind::futex;
    return bytes <= floors::slot_bytes_max ? floor_kind::slot : floor_kind::line;
  }

  // ns. A floor whose sides should have slept and did not is `awake`, and none.
  double floor(floor_kind kind, bool* awake) {
    histogram h;
    std::uint64_t turns = line_floor_turns, bytes = order_.payload_bytes;
    if (kind == floor_kind::slot)
      turns = std::clamp<std::uint64_t>(line_floor_turns * 256 / bytes, 50, line_floor_turns);
    if (!spins(kind)) turns = blocking_floor_turns;
    if (kind == floor_kind::line || kind == floor_kind::futex) bytes = 8;
    bool asleep = true;
    pair_.steady_floor(kind, turns, bytes, h, asleep);
    if (awake != nullptr && !asleep) *awake = true;
    const double found = median_ns(h);
    if (asleep) floors_[static_cast<std::size_t>(kind)].push_back(found);
    return found;
  }

  slice measure_slice(std::uint32_t w) {
    const way& by = ways[w];
    const floor_kind kind = floor_of(by, order_.payload_bytes);
    slice s;
    s.turns = turns_[w];
    bool awake = false;
    const double line_before = two_cpus_ ? floor(floor_kind::line, nullptr) : 0;
    s.floor_before = floor(kind, &awake);
    s.used = turn(w, s.turns, s.h, s.elapsed_ns);
    s.floor_after = floor(kind, &awake);
    const double line_after = two_cpus_ ? floor(floor_kind::line, nullptr) : 0;
    const bool sleeps = !by.polls && two_cpus_ && wanted_.what_for == job::round_trip;
    const bool row_awake = sleeps && !slept(s.used.asks.sleeps, s.used.answers.sleeps, s.turns);
    const double cpu_ns = (s.used.asks.cpu_seconds + s.used.answers.cpu_seconds) * 1e9;
    const bool crowded = by.polls && cpu_ns < cpu_share_min * 2 * s.elapsed_ns;
    const bool strayed =
        by.polls && (moved(line_before, line_after) || regime_of(line_before) != regime_of(line_after));
    s.state = {.why = awake                                  ? doubt::floor_awake
                      : crowded                              ? doubt::crowded
                      : row_awake                            ? doubt::row_awake
                      : moved(s.floor_before, s.floor_after) ? doubt::floor_moved
                      : strayed                              ? doubt::cores_moved
                                                             : doubt::none,
               .where = two_cpus_ ? regime_of(line_before) : regime::same_cpu,
               .polls = by.polls};
    return s;
  }

  regime common() const {
    std::vector<slice_state> all;
    for (const auto& of_way : slices_) {
      for (const slice& s : of_way) all.push_back(s.state);
    }
    return common_regime(all);
  }
  bool has_enough(std::uint32_t w) const {
    const regime where = common();
    return std::count_if(slices_[w].begin(), slices_[w].end(),
                         [&](const slice& s) { return counts(s.state, where); }) >= long{slices_wanted};
  }
  bool enough() const {
    for (std::uint32_t w = 0; w < ways.size(); ++w) {
      if (wanted_.wanted[w] && !has_enough(w)) return false;
    }
    return true;
  }

  timed summary(std::uint32_t w) const {
    const regime where = common();
    const std::vector<slice>& all = slices_[w];
    const bool any = std::any_of(all.begin(), all.end(), [&](const slice& s) { return counts(s.state, where); });
    timed out;
    histogram h;
    usage used;
    double elapsed_ns = 0;
    for (const slice& s : all) {
      // Where none counts, all are shown, as unstable.
      if (any && !counts(s.state, where)) {
        out.why = s.state.why != doubt::none ? s.state.why : doubt::cores_moved;
        ++out.slices_left;
        continue;
      }
      if (!any) out.why = s.state.why != doubt::none ? s.state.why : doubt::cores_moved;
      ++out.slices;
      h.add(s.h);
      used += s.used.asks;
      used += s.used.answers;
      elapsed_ns += s.elapsed_ns;
      out.turns += s.turns;
      out.floor_before += s.floor_before;
      out.floor_after += s.floor_after;
    }
    const bool good = any && out.slices >= slices_wanted;
    out.regime = good ? where : regime::unstable;
    if (good) out.why = doubt::none;
    out.floor = floor_of(ways[w], order_.payload_bytes);
    out.floor_before /= out.slices;
    out.floor_after /= out.slices;
    const double messages = static_cast<double>(out.turns) * messages_of_turn(wanted_.what_for);
    const bool round_trips = wanted_.what_for == job::round_trip;
    out.time = round_trips ? median_ns(h) : elapsed_ns / messages;
    if (round_trips) {
      out.p90 = ns(static_cast<double>(h.at(0.9)));
      out.p99 = ns(static_cast<double>(h.at(0.99)));
      if (out.floor != floor_kind::line) out.ratio = out.time / ((out.floor_before + out.floor_after) / 2);
    }
    out.messages_per_s = messages / elapsed_ns * 1e9;
    out.cpu_us = used.cpu_seconds * 1e6 / messages;
    out.sleeps = static_cast<double>(used.sleeps) / messages;
    return out;
  }

  // What producing and consuming a message takes by itself, in a buffer that lies in the cache of one CPU.
  void measure_work() {
    if (wanted_.what_for == job::file_transfer) return;
    std::vector<std::byte> buffer(wanted_.payload_bytes);
    const std::uint64_t times = std::clamp<std::uint64_t>((4 << 20) / wanted_.payload_bytes, 2, 10'000);
    std::vector<double> found;
    for (int i = 0; i < 7; ++i) {
      const std::uint64_t begin = floors::ticks();
      for (std::uint64_t n = 0; n < times; ++n) {
        produce(buffer.data(), buffer.size(), n);
        floors::keep(buffer.data());
      }
      const std::uint64_t middle = floors::ticks();
      std::uint64_t sum = 0;
      for (std::uint64_t n = 0; n < times; ++n) {
        sum += consume(buffer.data(), buffer.size());
        floors::keep(&sum);
      }
      const auto produced = static_cast<double>(middle - begin);
      const auto consumed = static_cast<double>(floors::ticks() - middle);
      // Of a round trip all of it, twice; one way, the sides work at the same time, and the slower one counts.
      const double each =
          wanted_.what_for == job::round_trip ? 2 * (produced + consumed) : std::max(produced, consumed);
      found.push_back(ns(each) / static_cast<double>(times));
    }
    std::nth_element(found.begin(), found.begin() + 3, found.end());
    to_.work_floor = found[3];
  }

  double median_of(floor_kind kind) const {
    std::vector<double> all = floors_[static_cast<std::size_t>(kind)];
    if (all.empty()) return 0;
    std::nth_element(all.begin(), all.begin() + static_cast<long>(all.size() / 2), all.end());
    return all[all.size() / 2];
  }

  pair_runner& pair_;
  group_report& to_;
  const group_request& wanted_;
  const order order_;
  const bool two_cpus_;
  double slice_ns_ = 0;
  std::uint64_t first_turn_ = 0;
  std::array<std::uint64_t, ways.size()> turns_{};
  std::array<std::vector<slice>, ways.size()> slices_;
  std::array<std::vector<double>, 6> floors_;  // by floor_kind
};

// Both sides in processes of their own, with all that they inherit; then `body(pair, order)`.
template <class Body>
int in_a_pair(group_report& to, const group_request& wanted, const char* bus, Body body) {
  to.current = no_way;
  end_after(to.pair, static_cast<unsigned>(ways.size() * (wanted.seconds * rounds_max + 10) + 60));
  try {
    const channels through(wanted.what_for == job::file_transfer);
    const order o = order_of(wanted, bus);
    pair_runner pair(to.pair, wanted.cpus,
                     [&](const order&, bool asks) { return make_talk(wanted.what_for, through, asks, to.talk); });
    pair.open(o);
    body(pair, o);
    pair.close();
    if (wanted.what_for == job::file_transfer && !through.target_is_source())
      throw std::runtime_error("the file that arrived is not the one that was sent");
    return 0;
  } catch (const std::exception& e) {
    if (to.pair.problem[0] == '\0') std::snprintf(to.pair.problem, sizeof to.pair.problem, "%s", e.what());
    return 1;
  }
}

}  // namespace

int measure_group(group_report& to, const group_request& wanted, const char* bus) {
  return in_a_pair(to, wanted, bus, [&](pair_runner& pair, const order& o) { measurement(pair, to, wanted, o).run(); });
}

int count_group(group_report& to, const group_request& wanted, const char* bus) {
  trace::wait_for_tracer(to.traced);
  return in_a_pair(to, wanted, bus, [&](pair_runner& pair, const order& o) {
    // Of a file, all of it.
    const std::uint64_t turns = wanted.what_for == job::file_transfer
                                    ? file_parts
                                    : std::clamp<std::uint64_t>((8 << 20) / wanted.payload_bytes, 8, 200);
    for (std::uint32_t w = 0; w < ways.size(); ++w) {
      if (!wanted.wanted[w]) continue;
      to.current = w;
      order one = o;
      one.way = w;
      one.turns = turns;
      histogram unused;
      pair.run(one, unused);  // opens it
      one.counted = true;
      pair.run(one, unused);
      const copies &mine = to.talk.copied[0].of[w], &theirs = to.talk.copied[1].of[w];
      to.counted_copies[w] = {mine.times + theirs.times, mine.bytes + theirs.bytes};
      to.counted_messages[w] = turns * static_cast<std::uint64_t>(messages_of_turn(wanted.what_for));
      to.current = no_way;
    }
  });
}

}  // namespace bench
