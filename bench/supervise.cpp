#include "supervise.hpp"

#include <algorithm>
#include <quoit/bus.hpp>
#include <quoit/inspect.hpp>
#include <stdexcept>

#include "floors/pair.hpp"

namespace bench {

namespace {

constexpr char bus_prefix[] = "bench-";

pid_t supervised = -1;
volatile std::sig_atomic_t interrupted_by = 0;

void interrupt(int signal) {
  interrupted_by = signal;
  if (supervised > 0) ::kill(supervised, SIGKILL);
}

// Being the last one out of a bus removes it, whichever way it goes.
void remove_bus(const std::string& name) {
  for (const auto way : {quoit::transport::shared_memory, quoit::transport::kernel}) {
    if (!quoit::inspect(name)) return;
    auto last = quoit::bus::open(name, {.node_name = "quoit bench", .transport = way});
  }
}

}  // namespace

std::string bus_of_this_process() { return bus_prefix + std::to_string(::getpid()); }

int wait_for(pid_t process) {
  int status = 0;
  for (pid_t ended; (ended = ::waitpid(-1, &status, 0)) != process;) {
    if (ended < 0 && errno != EINTR) break;
  }
  return status;
}

bool supervise(const std::function<int()>& body, const waiting& wait) {
  // Processes that the child forks: should it die first, they become ours to wait for.
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  interrupted_by = 0;
  ::signal(SIGINT, interrupt);
  ::signal(SIGTERM, interrupt);
  supervised = floors::fork_with_us([&] {
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    return body();
  });
  if (supervised < 0) throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  const int status = wait(supervised);
  const bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  supervised = -1;
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  if (good && interrupted_by == 0) return true;
  remove_bus(bus_of_this_process());
  if (interrupted_by != 0) ::raise(interrupted_by);
  return false;
}

bool interrupted() { return interrupted_by != 0; }

void clean_up_after_earlier_runs() {
  for (const std::string& name : quoit::list_buses()) {
    if (!name.starts_with(bus_prefix)) continue;
    const auto seen = quoit::inspect(name);
    if (!seen) continue;
    const bool alive = std::any_of(seen->nodes.begin(), seen->nodes.end(), [](const auto& node) { return node.alive; });
    if (!alive) remove_bus(name);
  }
}

}  // namespace bench
