#include "exec/inbox.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/call_counts.hpp"
#include "base/call_failed.hpp"
#include "quoit/detail/atomic.hpp"

namespace quoit::inline v1::detail {

result<void> inbox::open() {
  bell_ = make_eventfd(0);
  if (bell_) return {};
  return tl::unexpected(call_failed("eventfd", errno));
}

inbox::~inbox() {
  posted* work = nullptr;
  while (queue_.pop(work)) work->discard(*work);
}

void inbox::push(posted& work) {
  queue_.push(&work);
  ring();
}

void inbox::request_stop() noexcept {
  // sync(inbox.stop): what was written before the request is visible to whom it stops
  stop_.store(1, std::memory_order_release);
  ring();
}

bool inbox::take_stop() noexcept {
  // relaxed: the exchange decides
  if (stop_.load(std::memory_order_relaxed) == 0) return false;
  // sync(inbox.stop): as in request_stop()
  return stop_.exchange(0, std::memory_order_acquire) != 0;
}

void inbox::ring() noexcept {
  // sync(inbox.sleeping): either the loop's last look sees what we stored, or we see that it sleeps
  full_fence();
  // relaxed: the fence orders it, the exchange decides
  if (sleeping_.load(std::memory_order_relaxed) == 0) return;
  // sync(inbox.sleeping): whoever takes the 1 writes
  if (sleeping_.exchange(0, std::memory_order_acq_rel) != 1) return;
  const std::uint64_t one = 1;
  const int before = errno;  // of whatever a signal handler interrupted
  count_call(calls_made.wakes);
  // It cannot fail: the counter is far from its end.
  [[maybe_unused]] const auto written = ::write(bell_.get(), &one, sizeof one);
  errno = before;
}

void inbox::clear() noexcept {
  pollfd written{bell_.get(), POLLIN, 0};
  // It blocks, but nobody else reads it.
  if (!owed_ || ::poll(&written, 1, 0) != 1) return;
  std::uint64_t times = 0;
  owed_ = ::read(bell_.get(), &times, sizeof times) != sizeof times;
}

bool inbox::run() noexcept {
  bool any = false;
  posted* work = nullptr;
  // What is posted by the work itself comes in the next turn.
  for (int i = 0; i < 256 && queue_.pop(work); ++i) {
    any = true;
    work->call(*work);
  }
  return any;
}

bool inbox::prepare_sleep() noexcept {
  // relaxed: the fence orders it
  sleeping_.store(1, std::memory_order_relaxed);
  // sync(inbox.sleeping): as in ring()
  full_fence();
  // relaxed: the fence orders it
  if (queue_.empty() && stop_.load(std::memory_order_relaxed) == 0) return true;
  woken();
  return false;
}

}  // namespace quoit::inline v1::detail
