// What becomes of loops in a forked child.
//
// The child has a copy of a loop's memory. It has neither its ring, which is not mapped there, nor its descriptors,
// which are closed, nor its helper threads. So nothing that a task waits for comes, and the kernel is asked for
// nothing: an operation that is begun answers `forked`, and one that was in flight completes only if a stop is
// requested.
//
// If a task forks, the child goes on in it. The tasks that were ready at the fork are the parent's to run: the child
// drops them. What the child makes ready itself it runs: tasks that the one that forked begins, and those that wait for
// it. When nothing is left, run() returns.
//
// A loop that another thread has run cannot be taken apart: the copy may be of any moment, and not even of one.
#include <pthread.h>
#include <unistd.h>

#include <mutex>

#include "base/fork_guard.hpp"
#include "exec/loop_parts.hpp"
#include "quoit/detail/exec/loop.hpp"
#include "quoit/detail/exec/root.hpp"

namespace quoit::inline v1::detail {

namespace {

constinit std::mutex mutex;
loop* first = nullptr;

// When the library is loaded, as those of fork_guard.cpp, which run inside of these.
[[maybe_unused]] const bool handlers_are_set = [] {
  notice_forks();
  ::pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); },
                   [] {
                     loops_of_process::enter_child();
                     mutex.unlock();
                   });
  return true;
}();

}  // namespace

void loops_of_process::add(loop& one) noexcept {
  const std::lock_guard hold(mutex);
  one.next_ = first;
  one.link_ = &first;
  if (first != nullptr) first->link_ = &one.next_;
  first = &one;
}

void loops_of_process::remove(loop& one) noexcept {
  if (one.link_ == nullptr) return;
  const std::lock_guard hold(mutex);
  *one.link_ = one.next_;
  if (one.next_ != nullptr) one.next_->link_ = one.link_;
}

// With the mutex held, so that no child finds it half done.
void loops_of_process::bind(loop& one) noexcept {
  const std::lock_guard hold(mutex);
  one.parts_->thread = std::this_thread::get_id();
  one.bound_ = true;
}

void loops_of_process::enter_child() noexcept {
  for (loop* one = first; one != nullptr; one = one->next_) one->enter_child();
}

void loop::enter_child() noexcept {
  of_other_thread_ = !here();
  if (of_other_thread_) return;
  ready_.clear();
  at_once_left_ = 0;
}

void loop::run_in_child(bool (*over)(void*), void* context) noexcept {
  while (!ready_.empty() && !over(context)) {
    run_ready();
    destroy_retired();
  }
}

void loop::refuse_in_child(operation& op, const io_request& request) noexcept {
  // The descriptor is the child's, and nobody else closes it.
  if (request.code == io_code::close) ::close(request.fd);
  op.result = forked_answer;
  op.now = operation::state::complete;
  if (op.call == nullptr) make_ready(op);
}

// What the kernel has of it is the parent's, and so is what it answered. Whoever waits for it hears of the stop.
void loop::cancel_in_child(operation& op) noexcept {
  if (op.call != nullptr) return;
  if (op.now == operation::state::in_flight) {
    complete(op, forked_answer);
  } else if (op.now == operation::state::complete && was_dropped(op)) {
    op.result = forked_answer;
    make_ready(op);
  }
}

// Destroys the tasks, and lets go of the rest without looking at it: other threads post into it at any time.
void loop::leave_to_parent() noexcept {
  while (sources_ != nullptr) {
    loop_source& source = *sources_;
    remove(source);
    source.loop_gone();
  }
  ready_.clear();
  timers_.clear();
  root::destroy_all(roots_);
  while (!retired_.empty()) retired_.pop().destroy();
  ready_.clear();
  static_cast<void>(parts_.release());
}

}  // namespace quoit::inline v1::detail
