// A parent sends jobs to a child and gets answers, over a bus without a name. Once the child is what fork() made; once
// it becomes another program by exec, which has nothing but the number of a descriptor.
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <quoit.hpp>
#include <thread>

#include "../common/arguments.hpp"
#include "job.hpp"

using namespace std::chrono_literals;

namespace {

// The child: answers each job until the last one.
int work(const char* who, const quoit::inherited_memory& memory) {
  auto bus = quoit::bus::open(memory, {.node_name = who});
  if (!bus) return failed("opening the bus", bus.error());
  auto answers = bus->publisher<answer>("answers");
  if (!answers) return failed("opening the answers", answers.error());
  auto jobs = bus->subscriber<job>("jobs");
  if (!jobs) return failed("opening the jobs", jobs.error());
  std::uint32_t done = 0;
  for (bool last = false; !last; ++done) {
    auto sample = jobs->wait(10s);
    if (!sample) return failed("waiting for a job", sample.error());
    last = (*sample)->last;
    const std::uint64_t number = (*sample)->number;
    auto loan = answers->loan_for(10s);
    if (!loan) return failed("answering", loan.error());
    **loan = {.number = (*sample)->number, .pid = ::getpid(), .square = number * number};
    std::move(*loan).publish();
  }
  say(who, "answered %u jobs", done);
  // Sealed memory: what a process has published goes with it.
  while (memory.sealed() && answers->subscribers() > 0) std::this_thread::sleep_for(1ms);
  return 0;
}

// What fork() left to the child of what its parent had opened.
int work_forked(const quoit::inherited_memory& memory, quoit::publisher<job>& of_parent) {
  const auto refused = of_parent.publish({.number = 0, .last = true});
  say("child", "my parent's publisher says: %s", refused ? "nothing" : refused.error().message().c_str());
  return work("child", memory);
}

// Only the descriptor goes through exec, and only if it may.
int become_program(const char* program, const quoit::inherited_memory& memory) {
  if (auto ok = memory.keep_through_exec(); !ok) return failed("keeping the descriptor", ok.error());
  say("child", "before exec: %d mappings of the memory, descriptor %d", mappings(), memory.descriptor());
  const std::string number = std::to_string(memory.descriptor());
  ::execl(program, program, "--descriptor", number.c_str(), nullptr);
  std::perror("exec");
  return 1;
}

int work_behind_exec(int descriptor) {
  say("program", "behind exec: %d mappings of the memory, descriptor %d", mappings(), descriptor);
  auto memory = quoit::inherited_memory::from_descriptor(descriptor);
  if (!memory) return failed("the descriptor", memory.error());
  return work("program", *memory);
}

// The parent, for one child: as many jobs as `count`, and what comes back.
int employ(quoit::publisher<job>& jobs, quoit::subscriber<answer>& answers, std::uint32_t count) {
  while (jobs.subscribers() == 0) std::this_thread::sleep_for(1ms);
  std::uint64_t sum = 0;
  int pid = 0;
  for (std::uint32_t n = 1; n <= count; ++n) {
    if (auto ok = jobs.publish_for({.number = n, .last = n == count}, 10s); !ok)
      return failed("publishing", ok.error());
    auto sample = answers.wait(10s);
    if (!sample) return failed("waiting for an answer", sample.error());
    sum += (*sample)->square;
    pid = (*sample)->pid;
  }
  say("parent", "%u answers from another process (%s), sum of squares %llu", count, pid != ::getpid() ? "yes" : "no",
      static_cast<unsigned long long>(sum));
  return 0;
}

int ended_well(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--count N] [--sealed yes] [--descriptor N]");
  if (!args.text("--descriptor").empty()) return work_behind_exec(static_cast<int>(args.number("--descriptor", -1)));
  const auto count = static_cast<std::uint32_t>(args.number("--count", 1000));

  // Before fork(): the child has it then.
  auto memory = quoit::inherited_memory::create({.bytes = 64 << 20, .sealed = args.text("--sealed") == "yes"});
  if (!memory) return failed("making the memory", memory.error());
  const std::uint64_t free_at_first = memory->free_bytes();
  {
    auto bus = quoit::bus::open(*memory, {.node_name = "parent"});
    if (!bus) return failed("opening the bus", bus.error());
    say("parent", "%s; files in /dev/shm: %d", bus->transport().why.c_str(), files());
    auto jobs = bus->publisher<job>("jobs");
    if (!jobs) return failed("opening the jobs", jobs.error());

    for (const bool exec : {false, true}) {
      pid_t child = -1;
      {
        auto answers = bus->subscriber<answer>("answers");
        if (!answers) return failed("opening the answers", answers.error());
        child = ::fork();
        if (child < 0) return std::perror("fork"), 1;
        // _exit: what the parent has opened is the parent's to close.
        if (child == 0) ::_exit(exec ? become_program(argv[0], *memory) : work_forked(*memory, *jobs));
        if (const int status = employ(*jobs, *answers, count); status != 0) return status;
      }
      if (const int status = ended_well(child); status != 0) return status;
    }
  }
  say("parent", "everybody has left: %s",
      memory->free_bytes() == free_at_first ? "all memory is free" : "some is taken");
}
