// An executor for each CPU, in one process. The first deals jobs out and collects the answers, all of them work; what
// goes from thread to thread are messages, on the same topics that another process could publish and subscribe to.
#include <quoit.hpp>
#include <string>

#include "../common/arguments.hpp"

namespace {

struct job {
  std::uint64_t number;
  std::uint64_t from, to;  // whose primes are to be counted; none: there are no more jobs
};
QUOIT_FIELDS(job, number, from, to)

struct answer {
  std::uint64_t number;
  std::uint64_t worker;
  std::uint64_t primes;
};
QUOIT_FIELDS(answer, number, worker, primes)

constexpr std::uint64_t numbers_a_job = 1000;

std::string jobs_of(std::size_t worker) { return "jobs/" + std::to_string(worker); }

std::uint64_t count_primes(std::uint64_t from, std::uint64_t to) {
  std::uint64_t primes = 0;
  for (std::uint64_t n = from; n < to; ++n) {
    bool prime = n > 1;
    for (std::uint64_t d = 2; prime && d * d <= n; ++d) prime = n % d != 0;
    primes += prime ? 1 : 0;
  }
  return primes;
}

[[noreturn]] void give_up(const char* doing, const quoit::error& why) {
  throw std::runtime_error(std::string(doing) + ": " + why.message());
}

// On a thread of its own, with a bus of its own: what is opened from it stays on this thread.
quoit::task<> work(quoit::executor& executor, std::string name, std::size_t me) {
  auto bus = quoit::bus::open(executor, name, {.node_name = "worker"});
  if (!bus) give_up("opening the bus", bus.error());
  auto answers = bus->publisher<answer>("answers");
  if (!answers) give_up("opening the answers", answers.error());
  auto jobs = bus->subscriber<job>(jobs_of(me));
  if (!jobs) give_up("opening the jobs", jobs.error());
  for (;;) {
    const auto next = co_await jobs->next();
    if (!next) give_up("waiting for a job", next.error());
    const job todo = **next;
    if (todo.from == todo.to) co_return;
    auto loan = co_await answers->loan();
    if (!loan) give_up("answering", loan.error());
    **loan = {todo.number, me, count_primes(todo.from, todo.to)};
    std::move(*loan).publish();
  }
}

struct totals {
  std::uint64_t answers = 0;
  std::uint64_t primes = 0;
  std::vector<std::uint64_t> by_worker;
};

quoit::task<totals> deal(quoit::executor& executor, std::string name, std::size_t workers, std::uint64_t count) {
  totals all;
  all.by_worker.resize(workers);
  auto bus = quoit::bus::open(executor, name, {.node_name = "dealer"});
  if (!bus) give_up("opening the bus", bus.error());
  auto answers = bus->subscriber<answer>("answers");
  if (!answers) give_up("opening the answers", answers.error());
  std::vector<quoit::publisher<job>> jobs;
  for (std::size_t i = 0; i < workers; ++i) {
    auto to = bus->publisher<job>(jobs_of(i));
    if (!to) give_up("opening the jobs", to.error());
    const auto there = co_await to->matched(1);
    if (!there) give_up("waiting for a worker", there.error());
    jobs.push_back(std::move(*to));
  }
  // Two for each at first, so that nobody waits; then one for each answer.
  std::uint64_t dealt = 0;
  const auto deal_one = [&](std::size_t to) {
    if (dealt == count) return;
    const std::uint64_t from = dealt * numbers_a_job;
    if (auto ok = jobs[to].publish({dealt++, from, from + numbers_a_job}); !ok) give_up("dealing", ok.error());
  };
  for (std::size_t i = 0; i < 2 * workers; ++i) deal_one(i % workers);
  while (all.answers < count) {
    const auto got = co_await answers->next();
    if (!got) give_up("waiting for an answer", got.error());
    ++all.answers;
    ++all.by_worker[(*got)->worker];
    all.primes += (*got)->primes;
    deal_one((*got)->worker);
  }
  for (auto& to : jobs) {
    if (auto ok = to.publish({0, 0, 0}); !ok) give_up("ending", ok.error());
  }
  co_return all;
}

// A task of the last executor, which has the first one do something and waits for its value.
quoit::task<> ask(quoit::executor& first, std::string name, std::size_t workers, std::uint64_t count, totals& all) {
  all = co_await quoit::run_on(first, deal(first, name, workers, count));
}

}  // namespace

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--count N] [--executors N]");
  const auto count = static_cast<std::uint64_t>(args.number("--count", 2000));
  quoit::executor_group_options options;
  options.count = static_cast<std::uint32_t>(args.number("--executors", 0));
  auto group = quoit::executor_group::create(options);
  if (!group) return failed("making the executors", group.error());

  totals all;
  try {
    group->spawn_on_each(
        [name = args.bus()](quoit::executor& executor, std::size_t i) { return work(executor, name, i); });
    group->spawn(group->size() - 1, ask((*group)[0], args.bus(), group->size(), count, all));
    group->join();
  } catch (const std::exception& e) {
    return failed(e.what());
  }

  for (std::size_t i = 0; i < group->size(); ++i) {
    std::printf("executor %zu on CPU %d: %llu jobs\n", i, group->cpu(i),
                static_cast<unsigned long long>(all.by_worker[i]));
  }
  std::printf("%llu answers; %llu primes below %llu\n", static_cast<unsigned long long>(all.answers),
              static_cast<unsigned long long>(all.primes), static_cast<unsigned long long>(count * numbers_a_job));
}
