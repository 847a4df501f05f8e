// The loop of an executor, as far as inline code touches it.
//
// One thread: the one that runs it. What is ready is resumed in order; then sources are looked at; then the kernel is
// asked. A coroutine that waits has a node of its own in whatever it waits for, so waiting needs no memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/loop_source.hpp"
#include "quoit/detail/exec/operation.hpp"
#include "quoit/detail/exec/ready_queue.hpp"
#include "quoit/detail/exec/timer.hpp"
#include "quoit/detail/export.hpp"
#include "quoit/detail/fork_epoch.hpp"
#include "quoit/options.hpp"
#include "quoit/result.hpp"
#include "quoit/stop.hpp"

namespace quoit::inline v1::detail {

struct loop_parts;
struct root_link;
struct posted;

class QUOIT_EXPORT loop {
 public:
  static result<std::unique_ptr<loop>> create(const executor_options& options);
  // Cancels what is in flight, waits for the kernel to let go of it, and destroys the tasks that are left.
  ~loop();
  loop(const loop&) = delete;
  loop& operator=(const loop&) = delete;

  // The loop that runs on this thread; nullptr outside of one.
  static loop* current() noexcept;

  // ---- for coroutines on the loop's thread ----
  void make_ready(ready_node& node) noexcept {
    ready_.push(node);
    if (lies_) [[unlikely]]
      disturb();
  }
  // For a node that is destroyed.
  void forget(ready_node& node) noexcept {
    if (node.queued()) ready_.remove(node);
  }
  // For a coroutine whose answer is there already: true if it may go on at once. One that always finds an answer would
  // keep everybody else waiting: when a turn has had enough of that, it goes through the ready queue, and the turn
  // ends.
  bool may_go_on() noexcept {
    if (at_once_left_ == 0) [[unlikely]]
      return false;
    --at_once_left_;
    return true;
  }
  // True if resuming another coroutine from here could run off the end of the stack: a compiler that makes no tail
  // calls nests them. Then the other one goes through the ready queue.
  bool deep() const noexcept {
    return stack_begin_ - reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) > stack_bytes_max;
  }

  // The operation is complete when its node is resumed. It is always resumed, but for abandon().
  void start(operation& op, const io_request& request) noexcept;
  // Asks the kernel to give up; the operation completes all the same, as a rule with -ECANCELED.
  void cancel(operation& op) noexcept;
  // Cancels, and returns when the kernel has let go of the operation's memory. Blocks the thread. Resumes nobody.
  void abandon(operation& op) noexcept;

  void add(timer& t) noexcept { timers_.add(t); }
  void remove(timer& t) noexcept {
    if (t.in_heap) timers_.remove(t);
  }

  void add(loop_source& source);  // throws std::bad_alloc
  void remove(loop_source& source) noexcept;

  // A coroutine at its end that nobody owns: it is destroyed when nothing of it runs any more.
  void retire(ready_node& node) noexcept { retired_.push(node); }
  // Tasks that nobody awaits; those that are not over are destroyed with the loop.
  root_link*& roots() noexcept { return roots_; }

  // ---- running ----
  // Makes this thread the one that runs it, if none does. Errors: wrong_thread (it belongs to the thread that ran it
  // first, and does not run inside of itself), forked, system.
  result<void> bind() noexcept;
  // Runs until `over` says so. False: one of its tasks forked, this is the child, and what is left waits for something
  // that is not there. Requires: bind() was true.
  bool run(bool (*over)(void*), void* context) noexcept;
  bool nothing_posted() const noexcept;
  // In a loop that is not ours: does what there is to do, and lies down as if to sleep. Requires: bind() was true.
  void poll() noexcept;
  // Readable when poll() may have something to do; at first too. Errors: forked, wrong_thread, limit_reached
  // (descriptors), system.
  result<int> descriptor();
  // Something is to be done that the kernel does not tell of. Nothing if the loop does not lie.
  void disturb() noexcept;

  // ---- in a forked child ----
  // The child has the memory of the loop, and nothing of its ring, its timers and its helpers (loop_fork.cpp).
  bool forked() const noexcept { return epoch_ != fork_epoch; }
  // True of what was ready at the fork, and the child does not run by itself. Requires: it was not resumed since.
  bool was_dropped(const ready_node& node) const noexcept { return forked() && !node.queued(); }
  // True if nothing of it can be taken apart, so that it is left as it is: it was another thread's, which may have been
  // in the middle of anything, or one of its tasks is running this.
  bool left_behind() const noexcept { return (running_ && here()) || (forked() && of_other_thread_); }

  // ---- any thread ----
  // Throws std::bad_alloc, and std::logic_error in a forked child: then the work is still the caller's.
  void post(posted& work);
  // Tries until there is memory. Not on the loop's thread, which frees some. In a forked child it is discarded.
  void post_surely(posted& work) noexcept;
  void request_stop() noexcept;  // and from a signal handler

  stop_source& stopping() noexcept { return stop_; }
  const executor_options& options() const noexcept { return options_; }
  const char* describe() const noexcept;
  std::uint64_t sleeps() const noexcept { return sleeps_; }
  std::uint64_t enters() const noexcept;
  // CLOCK_MONOTONIC, in ns.
  static std::int64_t now_ns() noexcept;
  // So much later; not before now, and at the end of the clock at the latest.
  static std::int64_t ns_from_now(std::chrono::nanoseconds d) noexcept;

 private:
  friend struct loops_of_process;
  explicit loop(const executor_options& options) noexcept;
  bool here() const noexcept;
  void give_up_what_is_ours() noexcept;
  void enter_child() noexcept;
  void run_in_child(bool (*over)(void*), void* context) noexcept;
  void refuse_in_child(operation& op, const io_request& request) noexcept;
  void cancel_in_child(operation& op) noexcept;
  void leave_to_parent() noexcept;
  static constexpr std::uintptr_t stack_bytes_max = 64 * 1024;

  void run_ready() noexcept;
  void destroy_retired() noexcept;
  bool look_at_sources() noexcept;
  bool fire_timers() noexcept;
  void run_posted() noexcept;
  void forget_stop() noexcept;
  void sleep() noexcept;
  std::int64_t sleep_at_most() const noexcept;
  std::int64_t leave_to_alarm(std::int64_t most_ns) noexcept;
  void listen_to_inbox() noexcept;
  bool lie_down() noexcept;
  void get_up() noexcept;
  bool idle() noexcept;
  bool prepare_sources() noexcept;
  void wake_sources() noexcept;
  bool reap() noexcept;
  bool queue_again(operation& op, std::int32_t& result) noexcept;
  void complete(operation& op, std::int32_t result) noexcept;
  void unlink(operation& op) noexcept;

  // The loop's thread only.
  ready_queue ready_;
  ready_queue retired_;
  timer_heap timers_;
  std::uintptr_t stack_begin_ = 0;
  unsigned at_once_left_ = 0;  // in this turn
  loop_source* sources_ = nullptr;
  root_link* roots_ = nullptr;
  operation* in_flight_ = nullptr;
  stop_source stop_;
  bool running_ = false;
  bool lies_ = false;   // everything is armed, and whoever wakes it makes its descriptor readable
  bool bound_ = false;  // to the thread that ran it first
  std::uint32_t epoch_;
  bool of_other_thread_ = false;  // in a forked child: it belongs to a thread that the child does not have
  bool spinning_pays_ = true;
  std::int64_t idle_since_ns_ = 0;
  std::uint64_t sleeps_ = 0;
  executor_options options_;
  std::unique_ptr<loop_parts> parts_;
  // All loops of the process.
  loop* next_ = nullptr;
  loop** link_ = nullptr;
};

// What another thread wants run on the loop's. Owned by the queue until it is run.
struct posted {
  void (*call)(posted&) noexcept = nullptr;     // runs and frees it
  void (*discard)(posted&) noexcept = nullptr;  // frees it
};

}  // namespace quoit::inline v1::detail
