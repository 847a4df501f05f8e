#include "compare.hpp"

#include <sys/mman.h>

#include <stdexcept>

#include "../supervise.hpp"
#include "counting.hpp"
#include "group.hpp"

namespace bench {

namespace {

// Memory that the measuring processes share, for as long as a group takes.
class shared_report {
 public:
  shared_report() : at_(floors::shared<group_report>()) {
    if (at_ == nullptr) throw std::runtime_error("no memory for the benchmark's own state");
  }
  ~shared_report() { ::munmap(at_, sizeof *at_); }
  shared_report(const shared_report&) = delete;
  shared_report& operator=(const shared_report&) = delete;
  group_report* operator->() const { return at_; }
  group_report& operator*() const { return *at_; }

 private:
  group_report* at_;
};

std::string problem_of(const group_report& r) {
  return r.pair.problem[0] != '\0' ? r.pair.problem : "the measuring process died";
}

class group {
 public:
  group(const compare_request& wanted, job what_for, std::uint64_t payload_bytes) : bus_(bus_of_this_process()) {
    request_.what_for = what_for;
    request_.cpus = wanted.cpus;
    request_.payload_bytes = payload_bytes;
    request_.seconds = wanted.seconds;
    for (std::size_t w = 0; w < ways.size(); ++w) {
      rows_.push_back({.what_for = what_for, .by = ways[w], .payload_bytes = payload_bytes});
      request_.wanted[w] = !ways[w].polls || wanted.cpus.asks != wanted.cpus.answers;
      // Parts of a file come slowly enough to sleep between them.
      if (what_for == job::file_transfer && ways[w].polls) request_.wanted[w] = false;
      if (!request_.wanted[w]) rows_[w].not_measured = "it polls, and needs two CPUs: both processes would spin on one";
    }
  }

  void add_to(comparison& out) {
    // A way that cannot be had here, where there is no /dev/shm, say, does not keep the others back.
    while (!measure()) {
    }
    count();
    for (std::size_t w = 0; w < ways.size(); ++w) {
      if (request_.what_for != job::file_transfer || !ways[w].polls) out.rows.push_back(rows_[w]);
    }
    out.floors.insert(out.floors.end(), floors_.begin(), floors_.end());
  }

 private:
  bool measure() {
    const shared_report report;
    if (!supervise([&] { return measure_group(*report, request_, bus_.c_str()); })) {
      const std::uint32_t w = report->current;
      const std::string why = problem_of(*report);
      if (w >= ways.size() || !request_.wanted[w]) throw std::runtime_error(why);
      request_.wanted[w] = false;
      rows_[w].not_measured = why;
      return false;
    }
    for (std::size_t w = 0; w < ways.size(); ++w) {
      if (request_.wanted[w]) rows_[w].time = report->times[w];
    }
    const auto bound = [&](const char* name, double ns) {
      if (ns > 0) floors_.push_back({request_.what_for, name, request_.payload_bytes, ns});
    };
    bound("work", report->work_floor);
    if (request_.what_for == job::round_trip) {
      bound("futex", report->futex_floor);
      bound("seqpacket", report->seqpacket_floor);
      bound("slot", report->slot_floor);
    }
    return true;
  }

  void count() {
    const shared_report report;
    trace::tracer tracer(ways.size(), report->traced);
    const bool good = supervise([&] { return count_group(*report, request_, bus_.c_str()); },
                                [&](pid_t process) { return tracer.wait(process); });
    for (std::uint32_t w = 0; w < ways.size(); ++w) {
      compared& row = rows_[w];
      if (!request_.wanted[w]) continue;
      if (!good) {
        row.not_counted = problem_of(*report);
      } else if (!tracer.problem().empty()) {
        row.not_counted = tracer.problem();
      } else {
        row.counts = counts_of(tracer.of(w), report->counted_copies[w], report->counted_messages[w],
                               request_.payload_bytes, request_.what_for);
      }
    }
  }

  const std::string bus_;
  group_request request_;
  std::vector<compared> rows_;
  std::vector<lower_bound> floors_;
};

std::string size_words(std::uint64_t bytes) { return std::to_string(bytes) + " bytes"; }

}  // namespace

comparison compare(const compare_request& wanted) {
  // Before the fork, so that no process does it for itself.
  floors::ns_per_tick();
  floors::step_ticks();
  comparison out;
  const std::size_t groups = 2 * wanted.sizes.size() + 1;
  std::size_t done = 0;
  const auto says = [&](const std::string& what) {
    if (wanted.says) wanted.says(std::to_string(++done) + " of " + std::to_string(groups) + ": " + what);
  };
  for (const job what_for : {job::round_trip, job::one_way}) {
    for (const std::uint64_t bytes : wanted.sizes) {
      says(std::string(what_for == job::round_trip ? "round trips" : "one way") + ", " + size_words(bytes));
      group(wanted, what_for, bytes).add_to(out);
    }
  }
  says("a file, in parts of " + size_words(file_part_bytes));
  group(wanted, job::file_transfer, file_part_bytes).add_to(out);
  return out;
}

double times_as_fast(const comparison& c, job what_for, std::uint64_t payload_bytes, way by, way to) {
  double rates[2] = {0, 0};
  for (const compared& row : c.rows) {
    if (row.what_for != what_for || row.payload_bytes != payload_bytes || !row.not_measured.empty()) continue;
    // Of round trips, what most of them take.
    const double rate = 1e9 / row.time.time;
    if (row.by.by == by.by && row.by.polls == by.polls) rates[0] = rate;
    if (row.by.by == to.by && row.by.polls == to.polls) rates[1] = rate;
  }
  return rates[1] > 0 ? rates[0] / rates[1] : 0;
}

}  // namespace bench
