// family.cpp as coroutines: each process has an executor of its own, made after fork().
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "job.hpp"

using namespace std::chrono_literals;

namespace {

quoit::task<int> work(quoit::bus& bus, bool sealed) {
  auto answers = co_await bus.publisher_async<answer>("answers");
  if (!answers) co_return failed("opening the answers", answers.error());
  auto jobs = co_await bus.subscriber_async<job>("jobs");
  if (!jobs) co_return failed("opening the jobs", jobs.error());
  std::uint32_t done = 0;
  for (bool last = false; !last; ++done) {
    auto sample = co_await jobs->next();
    if (!sample) co_return failed("waiting for a job", sample.error());
    last = (*sample)->last;
    const std::uint64_t number = (*sample)->number;
    auto loan = co_await answers->loan();
    if (!loan) co_return failed("answering", loan.error());
    (*loan)->number = (*sample)->number;
    (*loan)->pid = ::getpid();
    (*loan)->square = number * number;
    std::move(*loan).publish();
  }
  say("child", "answered %u jobs", done);
  // Sealed memory: what a process has published goes with it.
  while (sealed && answers->subscribers() > 0) {
    const auto slept = co_await quoit::sleep_for(1ms);
    if (!slept) break;
  }
  co_return 0;
}

quoit::task<int> send(quoit::publisher<job>& jobs, std::uint32_t count) {
  const auto matched = co_await jobs.matched(1);
  if (!matched) co_return failed("waiting for the child", matched.error());
  for (std::uint32_t n = 1; n <= count; ++n) {
    auto loan = co_await jobs.loan();
    if (!loan) co_return failed("publishing", loan.error());
    (*loan)->number = n;
    (*loan)->last = n == count;
    std::move(*loan).publish();
  }
  co_return 0;
}

quoit::task<int> collect(quoit::subscriber<answer>& answers, std::uint32_t count) {
  std::uint64_t sum = 0;
  for (std::uint32_t n = 1; n <= count; ++n) {
    auto sample = co_await answers.next();
    if (!sample) co_return failed("waiting for an answer", sample.error());
    sum += (*sample)->square;
  }
  say("parent", "%u answers, sum of squares %llu", count, static_cast<unsigned long long>(sum));
  co_return 0;
}

// Jobs go out and answers come in at the same time, in one thread.
quoit::task<int> employ(quoit::bus& bus, std::uint32_t count) {
  auto jobs = co_await bus.publisher_async<job>("jobs");
  if (!jobs) co_return failed("opening the jobs", jobs.error());
  auto answers = co_await bus.subscriber_async<answer>("answers");
  if (!answers) co_return failed("opening the answers", answers.error());
  auto sending = send(*jobs, count);
  auto collecting = collect(*answers, count);
  const auto both = co_await quoit::when_all(std::move(sending), std::move(collecting));
  co_return std::get<0>(both) + std::get<1>(both);
}

int run(const char* who, const quoit::inherited_memory& memory, std::uint32_t count) {
  auto executor = quoit::executor::create();
  if (!executor) return failed("making the executor", executor.error());
  auto bus = quoit::bus::open(*executor, memory, {.node_name = who});
  if (!bus) return failed("opening the bus", bus.error());
  return count > 0 ? executor->run(employ(*bus, count)) : executor->run(work(*bus, memory.sealed()));
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--count N] [--sealed yes]");
  const auto count = static_cast<std::uint32_t>(std::max(1L, args.number("--count", 1000)));
  auto memory = quoit::inherited_memory::create({.bytes = 64 << 20, .sealed = args.text("--sealed") == "yes"});
  if (!memory) return failed("making the memory", memory.error());
  const pid_t child = ::fork();
  if (child < 0) return std::perror("fork"), 1;
  if (child == 0) ::_exit(run("child", *memory, 0));
  if (const int result = run("parent", *memory, count); result != 0) return result;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
