// One turn: resume what is ready; look at the sources; then timers, other threads' work and the kernel's completions.
// When nothing was there for a while, arm the sources and sleep in the kernel until one of all these has something.
#include "quoit/detail/exec/loop.hpp"

#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>

#include "exec/direct_io.hpp"
#include "exec/loop_parts.hpp"
#include "quoit/detail/atomic.hpp"
#include "quoit/detail/exec/root.hpp"
#include "quoit/detail/no_memory.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr unsigned resumed_a_turn_max = 256;
// Answers that are taken without going through the ready queue.
constexpr unsigned at_once_a_turn_max = 64;
// Turns between two looks at what costs more than a load, while there is something else to do.
constexpr unsigned turns_between_checks = 16;
// Looks at the sources between two of those, while there is nothing.
constexpr unsigned looks_while_idle = 16;
// Where a source can have nobody wake the loop.
constexpr std::int64_t blind_sleep_ns = 1'000'000;
// In a loop that is not ours, before that has its turn.
constexpr unsigned turns_a_poll_max = 32;
// A sleep that may last as long has no timer of its own.
constexpr std::int64_t alarm_min_ns = 50'000'000;
// Between two tries where the kernel has no memory.
constexpr std::int64_t retry_ns = 100'000;
// How often an operation is queued again for which the kernel had no thread. After that it is done here.
constexpr unsigned refusals_max = 8;

thread_local loop* loop_here = nullptr;

[[noreturn]] void fatal(const char* words) noexcept {
  std::fprintf(stderr, "quoit: %s\n", words);
  std::abort();
}

}  // namespace

loop* loop::current() noexcept { return loop_here; }

std::int64_t loop::now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::int64_t loop::ns_from_now(std::chrono::nanoseconds d) noexcept {
  const std::int64_t now = now_ns();
  return now + std::clamp<std::int64_t>(d.count(), 0, std::numeric_limits<std::int64_t>::max() - now);
}

loop::loop(const executor_options& options) noexcept : epoch_(fork_epoch), options_(options) {}

result<std::unique_ptr<loop>> loop::create(const executor_options& options) {
  return or_no_memory([&]() -> result<std::unique_ptr<loop>> {
    if (options.entries < 8 || options.entries > 32768) {
      return tl::unexpected(
          error(errc::invalid_argument, "entries is " + std::to_string(options.entries) + ": it must be 8 to 32768"));
    }
    // First, as a loop without them cannot be taken apart.
    auto parts = std::make_unique<loop_parts>();
    if (auto ok = kernel_queue::open(parts->ring, options); !ok) return tl::unexpected(std::move(ok.error()));
    if (auto ok = parts->in.open(); !ok) return tl::unexpected(std::move(ok.error()));
    std::unique_ptr<loop> made(new loop(options));
    made->parts_ = std::move(parts);
    loops_of_process::add(*made);
    return made;
  });
}

loop::~loop() {
  loops_of_process::remove(*this);
  if (forked()) {
    leave_to_parent();
    return;
  }
  while (sources_ != nullptr) {
    loop_source& source = *sources_;
    remove(source);
    source.loop_gone();
  }
  if (!here()) {
    give_up_what_is_ours();
  } else {
    // Nobody is resumed any more; but the kernel writes into frames until each operation is complete.
    for (operation* op = in_flight_; op != nullptr; op = op->after) op->abandoned = op->call == nullptr;
    while (in_flight_ != nullptr) {
      for (operation* op = in_flight_; op != nullptr; op = op->after) cancel(*op);
      parts_->ring.submit_and_wait(-1);
      reap();
    }
  }
  ready_.clear();
  timers_.clear();
  root::destroy_all(roots_);
  destroy_retired();
  ready_.clear();
}

bool loop::here() const noexcept { return !bound_ || parts_->thread == std::this_thread::get_id(); }

// On another thread, which the kernel does not let cancel anything. The bell and the waits on words write to no memory
// that goes with us: they end when the ring is closed.
void loop::give_up_what_is_ours() noexcept {
  while (in_flight_ != nullptr) {
    operation& op = *in_flight_;
    op.abandoned = op.call == nullptr;
    if (op.abandoned) {
      fatal("an executor with operations in flight is destroyed on a thread that it does not belong to");
    }
    complete(op, -ECANCELED);
  }
  parts_->ring.leave_thread();
}

const char* loop::describe() const noexcept { return parts_->ring.describe(); }
std::uint64_t loop::enters() const noexcept { return parts_->ring.system_calls(); }

// ---- operations ----------------------------------------------------------------------------------------

void loop::start(operation& op, const io_request& request) noexcept {
  op.cancelling = op.abandoned = false;
  op.refusals = 0;
  if (forked()) [[unlikely]]
    return refuse_in_child(op, request);
  op.now = operation::state::in_flight;
  op.before = nullptr;
  op.after = in_flight_;
  if (in_flight_ != nullptr) in_flight_->before = &op;
  in_flight_ = &op;
  for (int attempt = 0; !parts_->ring.prepare(request, op); ++attempt) {
    // The kernel takes no more before we take what is complete; that resumes nobody yet.
    if (!reap() && attempt > 100) return complete(op, -EAGAIN);
  }
}

void loop::cancel(operation& op) noexcept {
  if (forked()) return cancel_in_child(op);
  if (op.now != operation::state::in_flight || op.cancelling) return;
  op.cancelling = true;
  // Not given up: somebody would wait for ever. The kernel takes entries again when it has memory.
  while (!parts_->ring.prepare_cancel(op)) {
    if (!reap()) parts_->ring.submit_and_wait(retry_ns);
    if (op.now != operation::state::in_flight) return;
  }
}

void loop::abandon(operation& op) noexcept {
  if (op.now != operation::state::in_flight) return;
  if (forked()) return unlink(op);
  if (!here()) {
    fatal("a task with an operation in flight is destroyed on a thread that its executor does not belong to");
  }
  op.abandoned = true;
  while (op.now == operation::state::in_flight) {
    cancel(op);
    parts_->ring.submit_and_wait(-1);
    reap();
  }
}

// True: the operation is queued again, and `result` is no answer to it. A signal that the application handles ends it
// with EINTR (a read of a pipe on Linux 6.1). With ECANCELED the kernel says that it could not start a worker thread,
// which it tries three times while a signal is pending. Not by start(): that takes completions, and they are being
// taken.
bool loop::queue_again(operation& op, std::int32_t& result) noexcept {
  if (op.again == nullptr || op.cancelling || op.abandoned) return false;
  const io_request& request = *op.again;
  if (result == -ECANCELED) {
    // A timerfd has an answer of its own with this number.
    if (request.code == io_code::read && nature_of(request.fd) == nature::other) return false;
    if (op.refusals == refusals_max) {
      partial_io here{request, 0};
      result = do_now(here);
      if (result == needs_a_thread) result = request.code == io_code::open ? -EAGAIN : do_blocking(here);
      if (result != not_ready) return false;
    } else {
      ++op.refusals;
    }
  } else if (result != -EINTR) {
    return false;
  }
  if (parts_->ring.prepare(request, op)) return true;
  result = -EAGAIN;
  return false;
}

void loop::complete(operation& op, std::int32_t result) noexcept {
  if (result < 0 && queue_again(op, result)) return;
  op.result = result;
  unlink(op);
  op.now = operation::state::complete;
  if (op.abandoned) return;
  if (op.call != nullptr) return op.call(op);
  make_ready(op);
}

// Out of those that are in flight.
void loop::unlink(operation& op) noexcept {
  (op.before != nullptr ? op.before->after : in_flight_) = op.after;
  if (op.after != nullptr) op.after->before = op.before;
  op.now = operation::state::idle;
}

bool loop::reap() noexcept {
  return parts_->ring.take([this](void* tag, std::int32_t result) noexcept {
    if (tag != nullptr) complete(*static_cast<operation*>(tag), result);
  }) != 0;
}

// ---- running -------------------------------------------------------------------------------------------

result<void> loop::bind() noexcept {
  if (forked()) return tl::unexpected(error(errc::forked));
  const bool elsewhere = bound_ && parts_->thread != std::this_thread::get_id();
  // In a child that was forked by a task, the loop of that task is still on the stack, and does nothing any more.
  const bool inside_of_another = loop_here != nullptr && !loop_here->forked();
  if (elsewhere || running_ || inside_of_another) return tl::unexpected(error(errc::wrong_thread));
  if (bound_) return {};
  if (const int number = parts_->ring.enable(); number != 0) {
    return tl::unexpected(error(errc::system, 0, number));
  }
  loops_of_process::bind(*this);
  return {};
}

bool loop::run(bool (*over)(void*), void* context) noexcept {
  running_ = true;
  loop* const outer = std::exchange(loop_here, this);
  stack_begin_ = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (lies_) get_up();
  unsigned turn = 0;
  idle_since_ns_ = 0;
  while (!over(context)) {
    run_ready();
    destroy_retired();
    if (forked()) [[unlikely]] {
      run_in_child(over, context);
      break;
    }
    if (over(context)) break;
    const bool found = look_at_sources();
    if (++turn % turns_between_checks == 0 || (!found && ready_.empty())) {
      fire_timers();
      run_posted();
      // Who sleeps as soon as nothing is ready sends its requests and waits for them in one system call.
      const bool sleeps_next = options_.wait == wait::block && ready_.empty();
      if (parts_->ring.pending() && !sleeps_next) parts_->ring.submit();
      if (parts_->ring.anything() || parts_->ring.must_ask()) reap();
    }
    if (!ready_.empty()) {
      idle_since_ns_ = 0;
      continue;
    }
    // What was posted may have been the last that there was.
    if (over(context)) break;
    if (idle()) idle_since_ns_ = 0;
  }
  if (!forked()) {
    // What was asked for and not sent yet goes now: the loop may not run again for a while.
    if (parts_->ring.pending()) parts_->ring.submit();
    forget_stop();
    // Nothing is armed: whoever goes on in another loop asks first.
    if (parts_->face) parts_->face->readable_now();
  }
  loop_here = outer;
  running_ = false;
  return !forked() || over(context);
}

void loop::run_ready() noexcept {
  at_once_left_ = at_once_a_turn_max;
  for (unsigned n = 0; n < resumed_a_turn_max && at_once_left_ != 0 && !ready_.empty(); ++n) ready_.pop().resume();
}

void loop::destroy_retired() noexcept {
  while (!retired_.empty()) retired_.pop().destroy();
  parts_->free_spent();
}

bool loop::fire_timers() noexcept {
  if (timers_.empty()) return false;
  const std::int64_t now = now_ns();
  bool any = false;
  while (!timers_.empty() && timers_.first().at_ns <= now) {
    timer& t = timers_.first();
    timers_.remove(t);
    t.fired = any = true;
    if (t.call != nullptr) {
      t.call(t);
    } else {
      make_ready(t);
    }
  }
  return any;
}

// After a turn in which nothing was ready: looks again for a little while, or sleeps. True if something may be ready.
bool loop::idle() noexcept {
  if (options_.wait == wait::block) {
    sleep();
    return true;
  }
  for (unsigned n = 0; n < looks_while_idle; ++n) {
    if (look_at_sources()) return true;
    // Loads from memory that others write seldom: the next turn sees to it.
    if (!parts_->in.empty() || parts_->ring.anything()) return false;
    cpu_relax();
  }
  if (options_.wait == wait::spin) return false;
  const std::int64_t now = now_ns();
  if (idle_since_ns_ == 0) idle_since_ns_ = now;
  if (options_.wait == wait::adaptive && spinning_pays_ && now - idle_since_ns_ < options_.spin_max.count()) {
    return false;
  }
  sleep();
  // It pays if this wait was one that it could have bridged.
  spinning_pays_ = now_ns() - idle_since_ns_ <= options_.spin_max.count();
  return true;
}

void loop::sleep() noexcept {
  loop_parts& p = *parts_;
  listen_to_inbox();
  if (!prepare_sources()) return;
  if (!p.in.prepare_sleep()) return wake_sources();
  ++sleeps_;
  std::int64_t most = leave_to_alarm(sleep_at_most());
  // Rare: to start all this, completions had to be taken first; or the kernel has no memory, and nobody would be heard.
  if (!ready_.empty()) most = 0;
  if (p.bell.now != operation::state::in_flight && (most < 0 || most > retry_ns)) most = retry_ns;
  p.ring.submit_and_wait(most);
  p.in.woken();
  reap();
  wake_sources();
  fire_timers();
  run_posted();
}

// In ns; below 0: without an end.
std::int64_t loop::sleep_at_most() const noexcept {
  std::int64_t timeout = -1;
  const auto at_most = [&](std::int64_t ns) { timeout = timeout < 0 ? ns : std::min(timeout, ns); };
  for (const loop_source* source = sources_; source != nullptr; source = source->in_loop.next) {
    at_most(source->in_loop.blind ? blind_sleep_ns : source->sleep_max().count());
  }
  if (!timers_.empty()) {
    // A time that was given by hand may be as far from now as the clock goes, either way.
    const std::int64_t at = timers_.first().at_ns, now = now_ns();
    at_most(at <= now ? 0 : at - now);
  }
  return timeout;
}

// One alarm ends many sleeps that would have ended by themselves much later: the kernel takes 0.6 us to set a timer for
// a sleep and to take it back, and most end by a wake. What is left for the kernel to time, as sleep_at_most() says it.
std::int64_t loop::leave_to_alarm(std::int64_t most_ns) noexcept {
  loop_alarm& alarm = parts_->alarm;
  if (most_ns < alarm_min_ns || alarm.refused || !parts_->ring.keeps_alarms()) return most_ns;
  const std::int64_t end = ns_from_now(std::chrono::nanoseconds(most_ns));
  if (alarm.now != operation::state::in_flight) {
    alarm.at_ns = end;
    alarm.time = {end / 1'000'000'000, end % 1'000'000'000};
    alarm.call = [](operation& op) noexcept {
      // As a rule the time has come. Refused it would end each sleep at once.
      static_cast<loop_alarm&>(op).refused = op.result != -ETIME && op.result != -ECANCELED && op.result != -EAGAIN;
    };
    io_request request{.code = io_code::alarm};
    request.address = &alarm.time;
    start(alarm, request);
    if (alarm.now != operation::state::in_flight) return most_ns;
  }
  return alarm.at_ns <= end ? -1 : most_ns;
}

// ---- in a loop that is not ours ------------------------------------------------------------------------

result<int> loop::descriptor() {
  if (forked()) return tl::unexpected(error(errc::forked));
  if (!here()) return tl::unexpected(error(errc::wrong_thread));
  loop_parts& p = *parts_;
  if (!p.face) {
    const auto engine = p.ring.descriptor();
    if (!engine) return engine;
    auto made = foreign_face::make(*engine, p.in.descriptor());
    if (!made) return tl::unexpected(std::move(made.error()));
    p.face = std::move(*made);
  }
  return p.face->descriptor();
}

void loop::poll() noexcept {
  loop_parts& p = *parts_;
  running_ = true;
  loop* const outer = std::exchange(loop_here, this);
  stack_begin_ = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  get_up();
  for (unsigned turn = 0; turn < turns_a_poll_max; ++turn) {
    fire_timers();
    run_posted();
    run_ready();
    destroy_retired();
    if (forked()) [[unlikely]] {
      run_in_child([](void*) { return false; }, nullptr);
      break;
    }
    look_at_sources();
    if (p.ring.pending()) p.ring.submit();
    if (p.ring.anything() || p.ring.must_ask()) reap();
    if (ready_.empty() && lie_down()) break;
  }
  if (!forked()) {
    // There is more to do, and the other loop shall have its turn.
    if (!lies_ && p.face) p.face->readable_now();
    forget_stop();
  }
  loop_here = outer;
  running_ = false;
}

// As sleep(), up to where it would sleep. False: there is something to do.
bool loop::lie_down() noexcept {
  loop_parts& p = *parts_;
  if (!prepare_sources()) return false;
  if (!p.in.prepare_sleep()) {
    wake_sources();
    return false;
  }
  if (p.ring.pending()) p.ring.submit();
  const bool answered = p.ring.anything() && reap();
  std::int64_t most = sleep_at_most();
  const std::int64_t unheard = in_flight_ != nullptr ? p.ring.unheard_ns() : -1;
  if (unheard >= 0 && (most < 0 || most > unheard)) most = unheard;
  if (answered || !ready_.empty() || most == 0) {
    p.in.woken();
    wake_sources();
    return false;
  }
  const std::int64_t now = now_ns();
  if (p.face) p.face->readable_at(most < 0 || most > foreign_face::never - now ? foreign_face::never : now + most, now);
  lies_ = true;
  return true;
}

void loop::get_up() noexcept {
  loop_parts& p = *parts_;
  const bool lay = std::exchange(lies_, false);
  p.ring.submit_and_wait(0);
  // What comes after this makes the descriptor readable again; what came before is found before we lie down.
  p.ring.acknowledge();
  if (lay) p.in.woken();
  // A read of it that is in flight since the last run() takes it, and not we: it would leave us a descriptor that
  // blocks.
  if (p.bell.now != operation::state::in_flight) p.in.clear();
  reap();
  if (lay) wake_sources();
}

void loop::disturb() noexcept {
  if (lies_ && !forked()) parts_->in.ring();
}

void loop::run_posted() noexcept {
  parts_->in.run();
  // After it: what was spawned before the request is stopped too.
  if (parts_->in.take_stop()) stop_.request_stop();
}

// A stop is for the tasks that there were: those of the next run have not been asked. So is one that the last of them
// left no time to see.
void loop::forget_stop() noexcept {
  if (roots_ != nullptr) return;
  stop_.list_.requested = false;
  if (parts_->in.empty()) parts_->in.take_stop();
}

// ---- from any thread -----------------------------------------------------------------------------------

void loop::post(posted& work) {
  if (forked()) throw std::logic_error("quoit::executor: made before the fork of this process: make one in the child");
  parts_->in.push(work);
}
void loop::post_surely(posted& work) noexcept {
  if (forked()) return work.discard(work);
  for (;;) {
    try {
      return post(work);
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}
bool loop::nothing_posted() const noexcept { return parts_->in.empty(); }
void loop::request_stop() noexcept {
  if (!forked()) parts_->in.request_stop();
}

}  // namespace quoit::inline v1::detail
