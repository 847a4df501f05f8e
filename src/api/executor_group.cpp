// The threads of a group of executors: each runs its executor until the group is told that nothing comes any more, and
// nothing is left on any of them.
#include "quoit/executor_group.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/call_failed.hpp"
#include "quoit/detail/fork_epoch.hpp"

namespace quoit::inline v1 {

namespace detail {

namespace {

constexpr std::uint32_t executors_max = 1024;
constexpr int cpus_max = 65536;

// The CPUs that the calling thread may run on.
result<std::vector<int>> allowed_cpus() {
  const std::size_t bytes = CPU_ALLOC_SIZE(cpus_max);
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(cpus_max), [](cpu_set_t* s) { CPU_FREE(s); });
  if (!set) return tl::unexpected(error(errc::no_space));
  CPU_ZERO_S(bytes, set.get());
  if (::sched_getaffinity(0, bytes, set.get()) != 0) return tl::unexpected(call_failed("sched_getaffinity", errno));
  std::vector<int> cpus;
  for (int i = 0; i < cpus_max; ++i) {
    if (CPU_ISSET_S(i, bytes, set.get())) cpus.push_back(i);
  }
  return cpus;
}

// 0, or what the kernel says.
int keep_on(pthread_t thread, int cpu) {
  const std::size_t bytes = CPU_ALLOC_SIZE(cpus_max);
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(cpus_max), [](cpu_set_t* s) { CPU_FREE(s); });
  if (!set) return ENOMEM;
  CPU_ZERO_S(bytes, set.get());
  CPU_SET_S(cpu, bytes, set.get());
  return ::pthread_setaffinity_np(thread, bytes, set.get());
}

// Says nothing: it is there so that a loop that sleeps asks again whether it is over. Of no use, it is nobody's.
posted nudge{[](posted&) noexcept {}, [](posted&) noexcept {}};

}  // namespace

struct executor_group_state {
  struct member {
    explicit member(executor e) noexcept : where(std::move(e)) {}
    executor where;
    int cpu = -1;
    bool counted = false;  // among the work; its own thread
    std::thread thread;
  };
  enum class start : std::uint8_t { wait, run, give_up };

  ~executor_group_state() { end_threads(start::give_up); }

  result<void> set_up(const executor_group_options& options);
  void thread_of(member& m) noexcept;
  bool nothing_left(member& m) noexcept;
  void one_less() noexcept;
  void nudge_others() noexcept;
  void fail(std::exception_ptr why) noexcept;
  void request_stop() noexcept;
  void end_threads(start how) noexcept;

  std::uint32_t epoch = fork_epoch;
  std::vector<std::unique_ptr<member>> members;
  // What the group was given and is not over, and the threads that have a task, in one word with whether nothing comes
  // from outside any more: alone, that says that the threads end. Threads are counted for the tasks that were spawned
  // on an executor itself: they may want something of another one (run_on()).
  static constexpr std::uint64_t closing = std::uint64_t{1} << 63;
  std::atomic<std::uint64_t> work{0};
  bool joined = false;
  std::mutex mutex;
  std::condition_variable changed;
  start begin = start::wait;  // with the mutex
  std::size_t bound = 0;      // threads that have their executor; with the mutex
  result<void> bound_well{};  // the first that could not; with the mutex
  std::exception_ptr thrown;  // the first; with the mutex
};

result<void> executor_group_state::set_up(const executor_group_options& options) {
  if (options.count > executors_max) {
    return tl::unexpected(error(errc::invalid_argument, "count is " + std::to_string(options.count) +
                                                            ": it must be at most " + std::to_string(executors_max)));
  }
  const auto cpus = allowed_cpus();
  if (!cpus) return tl::unexpected(cpus.error());
  const std::size_t count = options.count != 0 ? options.count : std::min<std::size_t>(cpus->size(), executors_max);
  for (std::size_t i = 0; i < count; ++i) {
    auto made = executor::create(options.executor);
    if (!made) return tl::unexpected(std::move(made.error()));
    members.push_back(std::make_unique<member>(std::move(*made)));
  }
  for (std::size_t i = 0; i < count; ++i) {
    member& m = *members[i];
    try {
      m.thread = std::thread([this, &m] { thread_of(m); });
    } catch (const std::system_error& e) {
      return tl::unexpected(error(errc::limit_reached,
                                  "starting thread " + std::to_string(i + 1) + " of " + std::to_string(count) + ": " +
                                      std::strerror(e.code().value()),
                                  i, e.code().value()));
    }
    char name[16];
    std::snprintf(name, sizeof name, "quoit-%u", static_cast<unsigned>(i % executors_max));
    ::pthread_setname_np(m.thread.native_handle(), name);
    if (!options.pin) continue;
    m.cpu = (*cpus)[i % cpus->size()];
    if (const int why = keep_on(m.thread.native_handle(), m.cpu); why != 0) {
      return tl::unexpected(error(errc::system,
                                  "keeping a thread on CPU " + std::to_string(m.cpu) + ": " + std::strerror(why) +
                                      "; executor_group_options pin = false leaves it to the kernel",
                                  0, why));
    }
  }
  std::unique_lock hold(mutex);
  begin = start::run;
  changed.notify_all();
  changed.wait(hold, [&] { return bound == members.size(); });
  return bound_well;
}

void executor_group_state::thread_of(member& m) noexcept {
  {
    // It is kept on its CPU before it does anything.
    std::unique_lock hold(mutex);
    changed.wait(hold, [&] { return begin != start::wait; });
    if (begin == start::give_up) return;
    auto ok = m.where.loop().bind();
    if (!ok && bound_well) bound_well = std::move(ok);
    // sync(group.closing): before anybody can say that nothing comes any more
    m.counted = bound_well.has_value();
    if (m.counted) work.fetch_add(1, std::memory_order_seq_cst);
    ++bound;
    changed.notify_all();
    if (!m.counted) return;
  }
  for (;;) {
    try {
      m.where.run_until([&] { return nothing_left(m); });
      return;
    } catch (...) {
      // In a child that one of its tasks has forked, that is all: this thread is its only one, and ends.
      if (epoch != fork_epoch) return;
      // Of a task that was spawned on the executor itself.
      fail(std::current_exception());
    }
  }
}

bool executor_group_state::nothing_left(member& m) noexcept {
  const bool tasks = m.where.loop().roots() != nullptr;
  const bool idle = !tasks && m.where.loop().nothing_posted();
  // sync(group.closing): once this finds no work, none is added any more
  std::uint64_t now = work.load(std::memory_order_seq_cst);
  if (tasks && !m.counted) {
    // sync(group.closing): as in group_work(); too late it is only for what was given to us behind the group's back
    while (!m.counted && now != closing)
      m.counted = work.compare_exchange_weak(now, now + 1, std::memory_order_seq_cst);
  } else if (idle && m.counted && (now & closing) != 0) {
    m.counted = false;
    one_less();
    now = work.load(std::memory_order_seq_cst);  // sync(group.closing): as above
  }
  return idle && now == closing;
}

void executor_group_state::one_less() noexcept {
  // sync(group.closing): of the last one the threads are told, if they wait for it
  if (work.fetch_sub(1, std::memory_order_seq_cst) == closing + 1) nudge_others();
}

void executor_group_state::nudge_others() noexcept {
  for (const auto& m : members) {
    // A loop asks by itself when it has done something.
    if (&m->where.loop() != loop::current()) m->where.loop().post_surely(nudge);
  }
}

void executor_group_state::fail(std::exception_ptr why) noexcept {
  // In a forked child somebody whom it does not have may hold the mutex.
  if (epoch != fork_epoch) return;
  {
    const std::lock_guard hold(mutex);
    if (thrown == nullptr) thrown = std::move(why);
  }
  request_stop();
}

void executor_group_state::request_stop() noexcept {
  for (const auto& m : members) m->where.request_stop();
}

void executor_group_state::end_threads(start how) noexcept {
  {
    const std::lock_guard hold(mutex);
    if (begin == start::wait) begin = how;
  }
  changed.notify_all();
  // sync(group.closing): as in nothing_left()
  work.fetch_or(closing, std::memory_order_seq_cst);
  nudge_others();
  for (const auto& m : members) {
    if (m->thread.joinable()) m->thread.join();
  }
}

group_work::group_work(executor_group_state& of) : of_(&of) {
  // sync(group.closing): whoever is counted itself may go on to spawn; one who is refused is never counted
  std::uint64_t before = of.work.load(std::memory_order_seq_cst);
  do {
    if (before == executor_group_state::closing) {
      throw std::logic_error("quoit::executor_group: spawned or posted after join(), and there was nothing left");
    }
    // sync(group.closing): as above
  } while (!of.work.compare_exchange_weak(before, before + 1, std::memory_order_seq_cst));
}

// The state stays until its threads have ended, and whoever is here is one of them, or the one that joins.
void group_work::over() noexcept { of_->one_less(); }

void group_work::failed(std::exception_ptr why) const noexcept { of_->fail(std::move(why)); }

}  // namespace detail

executor_group::executor_group(std::unique_ptr<detail::executor_group_state> state) noexcept
    : state_(std::move(state)) {}
executor_group::executor_group(executor_group&&) noexcept = default;

executor_group& executor_group::operator=(executor_group&& other) noexcept {
  if (this != &other) {
    leave();
    state_ = std::move(other.state_);
  }
  return *this;
}

executor_group::~executor_group() { leave(); }

void executor_group::leave() noexcept {
  if (!state_) return;
  if (state_->epoch != detail::fork_epoch) {
    // A child has no such threads, and cannot tell what they were at.
    static_cast<void>(state_.release());
    return;
  }
  state_->request_stop();
  state_.reset();
}

result<executor_group> executor_group::create(const executor_group_options& options) {
  auto state = std::make_unique<detail::executor_group_state>();
  if (auto ok = state->set_up(options); !ok) return tl::unexpected(std::move(ok.error()));
  return executor_group(std::move(state));
}

std::size_t executor_group::size() const noexcept { return state_->members.size(); }
executor& executor_group::operator[](std::size_t i) const noexcept { return state_->members[i]->where; }
int executor_group::cpu(std::size_t i) const noexcept { return state_->members[i]->cpu; }
void executor_group::request_stop() noexcept { state_->request_stop(); }

detail::group_work executor_group::begin() const {
  if (state_->epoch != detail::fork_epoch) throw std::logic_error("quoit::executor_group: in a forked child");
  return detail::group_work(*state_);
}

void executor_group::join() {
  if (state_->epoch != detail::fork_epoch) throw std::logic_error("quoit::executor_group::join: in a forked child");
  for (const auto& m : state_->members) {
    if (m->thread.get_id() == std::this_thread::get_id()) {
      throw std::logic_error("quoit::executor_group::join: on one of its own threads");
    }
  }
  state_->end_threads(detail::executor_group_state::start::run);
  if (auto why = std::exchange(state_->thrown, nullptr)) std::rethrow_exception(why);
}

}  // namespace quoit::inline v1
