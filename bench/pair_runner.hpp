// Two processes that measure together: one asks, one answers. The floors and the rows of `quoit bench` run in the same
// two processes, turn about.
//
// The process is forked before anything of quoit is opened. The asking side gives orders through a shared word; each
// order runs on both sides at once. A side that dies ends the other.
#pragma once

#include <sys/resource.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "floors/futex.hpp"
#include "floors/line.hpp"
#include "floors/slot.hpp"

namespace bench {

using floors::histogram;

struct usage {
  double cpu_seconds = 0;
  std::uint64_t sleeps = 0;  // voluntary context switches
};

inline usage used_so_far() {
  rusage r{};
  ::getrusage(RUSAGE_SELF, &r);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return {seconds(r.ru_utime) + seconds(r.ru_stime), static_cast<std::uint64_t>(r.ru_nvcsw)};
}

// What an order says; both sides read it.
struct order {
  enum class kind : std::uint32_t { quit, open, run, close, line, slot, futex };
  kind what = kind::quit;
  std::uint32_t row = 0;
  std::uint64_t turns = 0;
  std::uint64_t payload_bytes = 0;
  std::uint64_t touch_bytes = 0;
  double rate = 0;
};

struct shared_state {
  order now;
  usage answers_used;
  char problem[512];  // of the answering side
  alignas(128) std::uint64_t given;
  alignas(128) std::uint64_t done;
  floors::line_memory line;
  floors::futex_memory futex;
  floors::slot_memory slot;
};

// One side of one row. Made when the row is opened, on both sides; the other side is there when run() is called.
class side {
 public:
  virtual ~side() = default;
  // `turns` round trips or messages; the asking side records ticks.
  virtual void run(const order& what, histogram* ticks) = 0;
};

using make_side = std::function<std::unique_ptr<side>(const order&, bool asks)>;

class pair_runner {
 public:
  // `make` says why it failed by throwing std::runtime_error.
  pair_runner(int cpu_asks, int cpu_answers, make_side make) : make_(std::move(make)) {
    state_ = floors::shared<shared_state>();
    if (state_ == nullptr) throw std::runtime_error("no memory for the benchmark's own state");
    floors::ns_per_tick();
    child_ = ::fork();
    if (child_ < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      floors::pin(cpu_answers);
      answer();
      ::_exit(0);
    }
    if (!floors::pin(cpu_asks)) throw std::runtime_error("cannot run on CPU " + std::to_string(cpu_asks));
  }
  ~pair_runner() {
    if (child_ <= 0) return;
    try {
      give({});
      wait_done(2);
    } catch (const std::runtime_error&) {
      ::kill(child_, SIGKILL);
    }
    ::waitpid(child_, nullptr, 0);
  }
  pair_runner(const pair_runner&) = delete;
  pair_runner& operator=(const pair_runner&) = delete;

  void open(order what) {
    what.what = order::kind::open;
    give(what);
    mine_ = make_(what, true);
    wait_done(20);
  }
  void run(order what, histogram& h) {
    what.what = order::kind::run;
    give(what);
    guard watch(*this);
    mine_->run(what, &h);
    wait_done(20);
  }
  void close() {
    order what;
    what.what = order::kind::close;
    give(what);
    mine_.reset();
    wait_done(20);
  }
  usage answers_used() const { return state_->answers_used; }

  // Floors, in ticks.
  histogram line(std::uint64_t turns) { return floor(order::kind::line, turns, 0); }
  histogram slot(std::uint64_t turns, std::uint64_t bytes) { return floor(order::kind::slot, turns, bytes); }
  histogram futex(std::uint64_t turns) { return floor(order::kind::futex, turns, 0); }

 private:
  // A peer that died leaves us spinning: then the alarm ends us, with words.
  struct guard {
    explicit guard(pair_runner&) { ::alarm(60); }
    ~guard() { ::alarm(0); }
  };

  histogram floor(order::kind kind, std::uint64_t turns, std::uint64_t bytes) {
    order what;
    what.what = kind;
    what.turns = turns;
    what.payload_bytes = bytes;
    give(what);
    guard watch(*this);
    histogram h;
    if (kind == order::kind::line) floors::line_ask(state_->line, turns, h);
    if (kind == order::kind::slot) floors::slot_ask(state_->slot, turns, bytes, h);
    if (kind == order::kind::futex) floors::futex_ask(state_->futex, turns, h);
    wait_done(20);
    return h;
  }

  void give(const order& what) {
    state_->now = what;
    __atomic_store_n(&state_->given, ++given_, __ATOMIC_RELEASE);
  }
  void wait_done(int seconds) {
    const std::uint64_t end = floors::monotonic_ns() + static_cast<std::uint64_t>(seconds) * 1'000'000'000u;
    while (__atomic_load_n(&state_->done, __ATOMIC_ACQUIRE) != given_) {
      if (::waitpid(child_, nullptr, WNOHANG) == child_) {
        child_ = -1;
        throw std::runtime_error(state_->problem[0] != '\0' ? state_->problem : "the answering process died");
      }
      if (floors::monotonic_ns() > end) throw std::runtime_error("the answering process does not answer");
    }
  }

  void answer() {
    std::unique_ptr<side> mine;
    for (std::uint64_t turn = 1;; ++turn) {
      while (__atomic_load_n(&state_->given, __ATOMIC_ACQUIRE) != turn) {
      }
      const order what = state_->now;
      try {
        switch (what.what) {
          case order::kind::quit: __atomic_store_n(&state_->done, turn, __ATOMIC_RELEASE); return;
          case order::kind::open: mine = make_(what, false); break;
          case order::kind::run: mine->run(what, nullptr); break;
          case order::kind::close: mine.reset(); break;
          case order::kind::line: floors::line_answer(state_->line, what.turns); break;
          case order::kind::slot: floors::slot_answer(state_->slot, what.turns, what.payload_bytes); break;
          case order::kind::futex: floors::futex_answer(state_->futex, what.turns); break;
        }
      } catch (const std::exception& e) {
        std::snprintf(state_->problem, sizeof state_->problem, "%s", e.what());
        return;
      }
      state_->answers_used = used_so_far();
      __atomic_store_n(&state_->done, turn, __ATOMIC_RELEASE);
    }
  }

  make_side make_;
  shared_state* state_ = nullptr;
  pid_t child_ = -1;
  std::uint64_t given_ = 0;
  std::unique_ptr<side> mine_;
};

}  // namespace bench
