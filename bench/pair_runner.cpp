#include "pair_runner.hpp"

#include <sys/resource.h>

#include <cstdio>
#include <stdexcept>

namespace bench {

namespace {

usage used_so_far(const side* mine) {
  rusage r{};
  ::getrusage(RUSAGE_SELF, &r);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return {seconds(r.ru_utime) + seconds(r.ru_stime), static_cast<std::uint64_t>(r.ru_nvcsw),
          mine == nullptr ? 0 : mine->wakes(), mine == nullptr ? 0 : mine->enters()};
}

char* problem_of_this_process = nullptr;

// The answering side has said why, if it could.
void end_with_answers(int) {
  static constexpr char words[] = "the answering process died";
  if (problem_of_this_process[0] == '\0') std::memcpy(problem_of_this_process, words, sizeof words);
  ::_exit(1);
}

void end_late(int) {
  static constexpr char words[] = "it hangs: the row took far longer than it was given";
  std::memcpy(problem_of_this_process, words, sizeof words);
  ::_exit(1);
}

}  // namespace

usage& usage::operator+=(const usage& other) {
  cpu_seconds += other.cpu_seconds;
  sleeps += other.sleeps;
  wakes += other.wakes;
  enters += other.enters;
  return *this;
}

usage operator-(usage a, const usage& b) {
  a.cpu_seconds -= b.cpu_seconds;
  a.sleeps -= b.sleeps;
  a.wakes -= b.wakes;
  a.enters -= b.enters;
  return a;
}

usage_of_both& usage_of_both::operator+=(const usage_of_both& other) {
  asks += other.asks;
  answers += other.answers;
  return *this;
}

void end_after(pair_state& state, unsigned seconds) {
  problem_of_this_process = state.problem;
  ::signal(SIGALRM, end_late);
  ::alarm(seconds);
}

pair_runner::pair_runner(pair_state& state, floors::cpu_pair cpus, make_side make)
    : state_(state), cpus_(cpus), make_(std::move(make)) {
  floors::ns_per_tick();
  floors::step_ticks();
  problem_of_this_process = state.problem;
  if (!state.echo.open() || !state.seqpacket.open() || !state.pipes.open())
    throw std::runtime_error(std::string("socketpair or pipe: ") + std::strerror(errno));
  floors::end_with_child(end_with_answers);
  child_ = floors::fork_with_us([this] { return answer(); });
  if (child_ < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  if (!floors::pin(cpus.asks)) throw std::runtime_error("cannot run on CPU " + std::to_string(cpus.asks));
}

pair_runner::~pair_runner() {
  ::signal(SIGCHLD, SIG_DFL);
  if (child_ <= 0) return;
  // Half a second to leave; after an error it may be waiting for us.
  give({});
  for (int i = 0; i < 500; ++i) {
    if (::waitpid(child_, nullptr, WNOHANG) != 0) return;
    ::usleep(1000);
  }
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
}

void pair_runner::open(order what) {
  what.what = order::kind::open;
  give(what);
  mine_ = make_(for_side(what, true), true);
  wait_done();
}

void pair_runner::close() {
  order what;
  what.what = order::kind::close;
  give(what);
  mine_.reset();
  wait_done();
}

usage_of_both pair_runner::run(order what, histogram& ticks) {
  what.what = order::kind::run;
  const usage theirs = state_.answers_used;
  const usage mine = used_so_far(mine_.get());
  give(what);
  mine_->run(for_side(what, true), &ticks);
  // What it does from here on is waiting for the other side.
  const usage used = used_so_far(mine_.get()) - mine;
  wait_done();
  return {used, state_.answers_used - theirs};
}

usage_of_both pair_runner::floor(floor_kind kind, std::uint64_t turns, std::uint64_t bytes, histogram& ticks) {
  if (kind == floor_kind::slot && bytes > floors::slot_bytes_max) {
    throw std::runtime_error("the floor's slots are smaller than what is touched");
  }
  order what;
  what.what = order::kind::floor;
  what.floor = kind;
  what.turns = turns;
  what.touch_bytes = bytes;
  const usage theirs = state_.answers_used;
  const usage mine = used_so_far(nullptr);
  give(what);
  const std::uint64_t enters = ask_floor(what, ticks);
  usage_of_both used;
  used.asks = used_so_far(nullptr) - mine;
  used.asks.enters = enters;
  wait_done();
  used.answers = state_.answers_used - theirs;
  const bool wakes = kind == floor_kind::futex || kind == floor_kind::futex_timed || kind == floor_kind::futex_ring ||
                     kind == floor_kind::pipe_ring || kind == floor_kind::pipe_epoll;
  if (wakes) used.asks.wakes = used.answers.wakes = turns;
  return used;
}

usage_of_both pair_runner::steady_floor(floor_kind kind, std::uint64_t turns, std::uint64_t bytes, histogram& ticks,
                                        bool& asleep) {
  constexpr int tries_max = 8;
  for (int tries = 1;; ++tries) {
    histogram h;
    const usage_of_both used = floor(kind, turns, bytes, h);
    // On one CPU, who is woken runs at once, before the other one sleeps: that is as it is there.
    asleep = spins(kind) || cpus_.asks == cpus_.answers || slept(used.asks.sleeps, used.answers.sleeps, turns);
    if (asleep || tries == tries_max) {
      ticks.add(h);
      return used;
    }
    // Out of step.
    ::usleep(1000);
  }
}

std::uint64_t pair_runner::ask_floor(const order& what, histogram& ticks) {
  switch (what.floor) {
    case floor_kind::line: floors::line_ask(state_.line, what.turns, ticks); break;
    case floor_kind::slot:
      floors::with_size(what.touch_bytes, [&](auto size) { floors::slot_ask(state_.slot, what.turns, size, ticks); });
      break;
    case floor_kind::futex: floors::futex_ask(state_.futex, what.turns, ticks); break;
    case floor_kind::futex_timed: floors::futex_ask(state_.futex, what.turns, ticks, &floors::futex_timeout); break;
    case floor_kind::futex_ring: return floors::futex_ring_ask(state_.futex, what.turns, ticks);
    case floor_kind::pipe_ring: return floors::pipe_ask<floors::pipe_in_ring>(state_.pipes, what.turns, ticks);
    case floor_kind::pipe_epoll: return floors::pipe_ask<floors::pipe_in_epoll>(state_.pipes, what.turns, ticks);
    case floor_kind::seqpacket: floors::seqpacket_ask(state_.seqpacket, what.turns, what.touch_bytes, ticks); break;
    case floor_kind::echo:
    case floor_kind::echo_spin:
      return floors::echo_ask(state_.echo, what.floor == floor_kind::echo_spin, what.turns, what.touch_bytes, ticks);
  }
  return 0;
}

std::uint64_t pair_runner::answer_floor(const order& what) {
  switch (what.floor) {
    case floor_kind::line: floors::line_answer(state_.line, what.turns); break;
    case floor_kind::slot:
      floors::with_size(what.touch_bytes, [&](auto size) { floors::slot_answer(state_.slot, what.turns, size); });
      break;
    case floor_kind::futex: floors::futex_answer(state_.futex, what.turns); break;
    case floor_kind::futex_timed: floors::futex_answer(state_.futex, what.turns, &floors::futex_timeout); break;
    case floor_kind::futex_ring: return floors::futex_ring_answer(state_.futex, what.turns);
    case floor_kind::pipe_ring: return floors::pipe_answer<floors::pipe_in_ring>(state_.pipes, what.turns);
    case floor_kind::pipe_epoll: return floors::pipe_answer<floors::pipe_in_epoll>(state_.pipes, what.turns);
    case floor_kind::seqpacket: floors::seqpacket_answer(state_.seqpacket, what.turns, what.touch_bytes); break;
    case floor_kind::echo:
    case floor_kind::echo_spin:
      return floors::echo_answer(state_.echo, what.floor == floor_kind::echo_spin, what.turns, what.touch_bytes);
  }
  return 0;
}

order pair_runner::for_side(order what, bool asks) const {
  what.cpus = cpus_;
  what.socket = state_.echo.sockets[asks ? 0 : 1];
  return what;
}

void pair_runner::give(const order& what) {
  state_.now = what;
  __atomic_store_n(&state_.given, ++given_, __ATOMIC_RELEASE);
}

void pair_runner::wait_done() {
  // On one CPU, the other side has to run. If it died, this process ends by a signal.
  while (__atomic_load_n(&state_.done, __ATOMIC_ACQUIRE) != given_) ::sched_yield();
}

int pair_runner::answer() {
  std::unique_ptr<side> mine;
  try {
    if (!floors::pin(cpus_.answers)) throw std::runtime_error("cannot run on CPU " + std::to_string(cpus_.answers));
    for (std::uint64_t turn = 1;; ++turn) {
      while (__atomic_load_n(&state_.given, __ATOMIC_ACQUIRE) != turn) ::sched_yield();
      const order what = for_side(state_.now, false);
      const usage before = used_so_far(mine.get());
      std::uint64_t enters = 0;
      switch (what.what) {
        case order::kind::quit: return 0;
        case order::kind::open: mine = make_(what, false); break;
        case order::kind::run: mine->run(what, nullptr); break;
        case order::kind::close: mine.reset(); break;
        case order::kind::floor: enters = answer_floor(what); break;
      }
      if (what.what != order::kind::close) {
        state_.answers_used += used_so_far(mine.get()) - before;
        state_.answers_used.enters += enters;
      }
      __atomic_store_n(&state_.done, turn, __ATOMIC_RELEASE);
    }
  } catch (const std::exception& e) {
    std::snprintf(state_.problem, sizeof state_.problem, "the answering side: %s", e.what());
    return 1;
  }
}

}  // namespace bench
