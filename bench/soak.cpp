// Millions of sleeps on each rung, while publishers and subscribers, their threads and their processes come, go and are
// killed: is anybody woken too late, or for nothing, or never?
//
// For each rung two processes send a message back and forth, and sleep until it is there: two sleeps a round. Guests
// come to the same two topics, as threads of these processes and as processes of their own, publish and receive a
// little, and leave. Who comes or leaves wakes everybody, so they come only after the two have moved: a wake that is
// lost meanwhile is not made good by a guest.
//
// In the calm run they leave in order, and the recheck comes after ten seconds only: if it finds something, a wake was
// lost, and the run has failed. In the storm they are killed at any moment, and a wake may die with who was to make it:
// each of those costs a recheck of 50 ms, and more of them than were killed are a failure.
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <quoit.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

struct ball {
  std::uint64_t number;
  std::uint64_t from;  // one of the two that play, or a guest
  std::uint64_t sent_ns;
};
QUOIT_FIELDS(ball, number, from, sent_ns)

constexpr std::uint64_t a_player = 1, a_guest = 2;
constexpr std::uint64_t the_end = ~std::uint64_t{0};  // the number of the last message

struct rung {
  const char* name;
  bool thread;  // that waits by itself, without an executor
  quoit::wait how;
  quoit::io_engine engine;
  quoit::rung on;
};
constexpr rung rungs[] = {
    {"thread, futex", true, quoit::wait::block, quoit::io_engine::unspecified, quoit::rung::unspecified},
    {"io_uring, futex", false, quoit::wait::block, quoit::io_engine::io_uring, quoit::rung::futex},
    {"io_uring, pipe", false, quoit::wait::block, quoit::io_engine::io_uring, quoit::rung::pipe},
    {"epoll, pipe", false, quoit::wait::block, quoit::io_engine::epoll, quoit::rung::pipe},
    {"executor, spinning", false, quoit::wait::spin, quoit::io_engine::unspecified, quoit::rung::unspecified},
};

// Of one run, for all its processes.
struct shared {
  std::atomic<bool> stop;
  std::atomic<unsigned> ready;  // of the two who play
  std::atomic<std::uint64_t> rounds;
  std::atomic<std::uint64_t> rings;      // system calls that the two who play made to wake the other one
  std::atomic<std::uint64_t> latest_ns;  // from publishing to having it
  std::atomic<std::uint64_t> guests;     // that were threads
};

class dice_of {
 public:
  explicit dice_of(unsigned seed) : engine_(seed) {}
  unsigned operator()() { return static_cast<unsigned>(engine_()); }

 private:
  std::minstd_rand engine_;
};

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

[[noreturn]] void give_up(const char* doing, const quoit::error& why) {
  std::fprintf(stderr, "soak: %s: %s\n", doing, why.message().c_str());
  ::_exit(1);
}
template <class T>
T must(const char* doing, quoit::result<T> r) {
  if (!r) give_up(doing, r.error());
  return std::move(*r);
}

quoit::bus_options options_of(const rung& r, bool storm, const char* name) {
  quoit::bus_options o;
  o.node_name = name;
  o.wait = r.how;
  o.recheck = storm ? std::chrono::nanoseconds(50ms) : std::chrono::nanoseconds(10s);
  return o;
}
// Few guests are there at once, but in the storm nobody cleans up after them until somebody looks.
quoit::publisher_options roomy() {
  quoit::publisher_options o;
  o.limits.publishers_max = 256;
  return o;
}
quoit::subscriber_options as(quoit::mode how) {
  quoit::subscriber_options o;
  o.mode = how;
  o.limits.publishers_max = 256;
  return o;
}

// Until the two have played so many rounds more. False: it is over.
bool after_rounds(const shared& s, std::uint64_t more) {
  for (const std::uint64_t begin = s.rounds; !s.stop; ::usleep(500)) {
    if (s.rounds - begin >= more) return true;
  }
  return false;
}

// ---- guests ----------------------------------------------------------------------------------------------

// Comes, says a little, hears a little, and goes.
void visit(const std::string& bus_name, const rung& r, bool storm, dice_of& dice) {
  auto bus = quoit::bus::open(bus_name, options_of(r, storm, "guest"));
  if (!bus) return;  // too many at once
  const char* const topic = dice() % 2 == 0 ? "there" : "back";
  const bool talks = dice() % 2 == 0, listens = !talks || dice() % 2 == 0;
  std::optional<quoit::publisher<ball>> publisher;
  std::optional<quoit::subscriber<ball>> subscriber;
  if (talks) {
    auto made = bus->publisher<ball>(topic, roomy());
    if (made) publisher = std::move(*made);
  }
  if (listens) {
    // One that is killed is nobody's wall.
    auto made = bus->subscriber<ball>(topic, as(storm ? quoit::mode::lossy : quoit::mode::automatic));
    if (made) subscriber = std::move(*made);
  }
  for (unsigned n = 1 + dice() % 8; n != 0; --n) {
    if (publisher) static_cast<void>(publisher->publish_for({0, a_guest, now_ns()}, 1s));
    // Armed, and asleep, whenever it goes.
    if (subscriber) static_cast<void>(subscriber->wait(std::chrono::microseconds(dice() % 300)));
    if (dice() % 4 == 0) ::usleep(dice() % 200);
  }
}

void guests_in_threads(const std::string& bus, const rung& r, bool storm, unsigned seed, shared& s) {
  dice_of dice(seed);
  while (after_rounds(s, 20 + dice() % 200)) {
    const unsigned next = dice();
    std::thread([&] {
      dice_of own(next);
      visit(bus, r, storm, own);
    }).join();
    ++s.guests;
  }
}

// ---- the two who play ------------------------------------------------------------------------------------

void note(shared& s, const ball& b) {
  const std::uint64_t took = now_ns() - b.sent_ns;
  if (took > s.latest_ns.load(std::memory_order_relaxed)) s.latest_ns = took;
}

void serve(quoit::publisher<ball>& to, std::uint64_t number) {
  if (auto ok = to.publish_for({number, a_player, now_ns()}, 60s); !ok) give_up("publishing", ok.error());
}

// The one that comes of what was received: true for the message that is waited for.
bool is_next(shared& s, const ball& b, std::uint64_t number) {
  if (b.from != a_player) return false;
  note(s, b);
  if (b.number != number) {
    std::fprintf(stderr, "soak: message %llu came, and not %llu\n", static_cast<unsigned long long>(b.number),
                 static_cast<unsigned long long>(number));
    ::_exit(1);
  }
  return true;
}

quoit::task<> play(quoit::publisher<ball>& to, quoit::subscriber<ball>& from, bool begins, shared& s) {
  for (std::uint64_t n = 0;; ++n) {
    const bool last = begins && s.stop;
    if (begins) serve(to, last ? the_end : n);
    if (last) co_return;
    for (bool mine = false; !mine;) {
      const auto got = co_await from.next();
      if (!got) give_up("receiving", got.error());
      if (!begins && (**got).from == a_player && (**got).number == the_end) co_return;
      mine = is_next(s, **got, n);
    }
    if (!begins) serve(to, n);
    if (begins) ++s.rounds;
  }
}

void play_in_thread(quoit::publisher<ball>& to, quoit::subscriber<ball>& from, bool begins, shared& s) {
  for (std::uint64_t n = 0;; ++n) {
    const bool last = begins && s.stop;
    if (begins) serve(to, last ? the_end : n);
    if (last) return;
    for (bool mine = false; !mine;) {
      const auto got = from.wait();
      if (!got) give_up("receiving", got.error());
      if (!begins && (**got).from == a_player && (**got).number == the_end) return;
      mine = is_next(s, **got, n);
    }
    if (!begins) serve(to, n);
    if (begins) ++s.rounds;
  }
}

int player(const std::string& name, const rung& r, bool storm, bool begins, unsigned seed, shared& s) {
  std::thread visitors([&] { guests_in_threads(name, r, storm, seed, s); });
  {
    std::optional<quoit::executor> ex;
    quoit::executor_options how;
    how.wait = r.how;
    how.engine = r.engine;
    how.rung = r.on;
    if (!r.thread) ex = must("making the executor", quoit::executor::create(how));
    auto bus = must("opening the bus", quoit::bus::open(name, options_of(r, storm, begins ? "begins" : "answers")));
    auto to = must("publishing", bus.publisher<ball>(begins ? "there" : "back", roomy()));
    auto from = must("subscribing", bus.subscriber<ball>(begins ? "back" : "there", as(quoit::mode::reliable)));
    // The other one hears the first message: its subscriber is on the lane, which the topic's table does not say.
    for (++s.ready; s.ready < 2;) ::usleep(100);
    if (ex) {
      ex->run(play(to, from, begins, s));
    } else {
      play_in_thread(to, from, begins, s);
    }
    s.rings += to.wakes();
    visitors.join();
  }
  return 0;
}

// ---- one run ---------------------------------------------------------------------------------------------

template <class F>
pid_t forked(F f) {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  ::_exit(f());
}

struct totals {
  std::uint64_t sleeps = 0, late = 0, vain = 0;
};

totals counted(const std::string& bus) {
  totals t;
  const auto seen = quoit::inspect(bus);
  if (!seen) return t;
  for (const auto& n : seen->nodes) {
    if (n.name != "begins" && n.name != "answers") continue;
    t.sleeps += n.sleeps;
    t.late += n.late_wakes;
    t.vain += n.vain_wakes;
  }
  return t;
}

// False: it failed, and said why.
bool run(const rung& r, bool storm, std::uint64_t wanted, unsigned seed) {
  const std::string bus = "soak-" + std::to_string(::getpid());
  void* const memory = ::mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  auto& s = *new (memory) shared{};
  const std::uint64_t begin = now_ns();
  pid_t players[2];
  for (const int i : {0, 1}) {
    players[i] = forked([&] { return player(bus, r, storm, i == 0, seed + static_cast<unsigned>(i), s); });
  }
  dice_of dice(seed);
  std::uint64_t born = 0, killed = 0, progress = 0, progress_at = begin;
  bool well = true;
  totals t;
  const auto all_well = [&] {
    int how = 0;
    for (const pid_t p : players) {
      if (::waitpid(p, &how, WNOHANG) == p) return false;
    }
    if (s.rounds != progress) {
      progress = s.rounds;
      progress_at = now_ns();
    }
    if (now_ns() - progress_at < 60'000'000'000u) return true;
    std::fprintf(stderr, "soak: %s: nothing has moved for a minute, after %llu rounds\n", r.name,
                 static_cast<unsigned long long>(progress));
    return false;
  };
  for (bool done = false; !done && well;) {
    const unsigned next = dice();
    const std::uint64_t pause = 20 + dice() % 100;
    // Looked at all the time: nothing may move any more.
    for (const std::uint64_t until = s.rounds + pause; well && s.rounds < until; ::usleep(500)) {
      well = all_well();
    }
    if (!well) break;
    const pid_t guest = forked([&] {
      dice_of own(next);
      for (int n = 0; n < 8; ++n) visit(bus, r, storm, own);
      return 0;
    });
    ++born;
    ::usleep(1000 + dice() % 8000);
    if (storm && dice() % 4 != 0) {
      // It may have ended by itself.
      ::kill(guest, SIGKILL);
    }
    int how = 0;
    ::waitpid(guest, &how, 0);
    killed += WIFSIGNALED(how) ? 1 : 0;
    t = counted(bus);
    done = (r.how == quoit::wait::spin ? 2 * s.rounds : t.sleeps) >= wanted;
  }
  s.stop = true;
  for (const pid_t p : players) {
    int how = 0;
    if (!well) ::kill(p, SIGKILL);
    if (::waitpid(p, &how, 0) == p && (!WIFEXITED(how) || WEXITSTATUS(how) != 0)) well = false;
  }
  static_cast<void>(quoit::clean(bus));
  const bool too_late = t.late > (storm ? killed : 0);
  const auto u = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf("%-19s %-5s %9llu %9llu %9llu %6llu %9llu %10.3f %7llu %7llu %7llu %7.1f%s\n", r.name,
              storm ? "storm" : "calm", u(2 * s.rounds), u(t.sleeps), u(s.rings), u(t.late), u(t.vain),
              static_cast<double>(s.latest_ns) / 1e6, u(s.guests), u(born), u(killed),
              static_cast<double>(now_ns() - begin) / 1e9,
              !well      ? "  FAILED"
              : too_late ? "  LATE"
                         : "");
  std::fflush(stdout);
  ::munmap(memory, sizeof(shared));
  return well && !too_late;
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t sleeps = 10'000'000;
  unsigned seed = 1;
  std::string only;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (value != nullptr && option == "--sleeps") {
      sleeps = std::strtoull(value, nullptr, 10);
    } else if (value != nullptr && option == "--seed") {
      seed = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    } else if (value != nullptr && option == "--only") {
      only = value;
    } else {
      std::fprintf(stderr,
                   "usage: %s [--sleeps N] [--seed N] [--only RUNG]\n"
                   "N sleeps in all (10000000), shared among the rungs that this kernel has; RUNG as in the table.\n",
                   argv[0]);
      return 2;
    }
  }
  std::vector<rung> here;
  for (const rung& r : rungs) {
    if (!only.empty() && only != r.name) continue;
    quoit::executor_options how;
    how.engine = r.engine;
    how.rung = r.on;
    const auto made = quoit::executor::create(how);
    if (made) {
      here.push_back(r);
    } else {
      std::printf("%s: not here: %s\n", r.name, made.error().message().c_str());
    }
  }
  if (here.empty()) return 2;
  std::printf("%-19s %-5s %9s %9s %9s %6s %9s %10s %7s %7s %7s %7s\n", "rung", "run", "messages", "sleeps", "rings",
              "late", "vain", "latest ms", "threads", "guests", "killed", "seconds");
  bool well = true;
  for (const rung& r : here) {
    for (const bool storm : {false, true}) {
      // Who spins does not sleep, and is here for comparison.
      const std::uint64_t share = sleeps / (2 * (here.size() > 1 ? here.size() - 1 : 1));
      well = run(r, storm, r.how == quoit::wait::spin ? share / 20 : share, seed++) && well;
    }
  }
  return well ? 0 : 1;
}
