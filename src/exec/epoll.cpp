#include "exec/epoll.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "base/call_counts.hpp"
#include "base/call_failed.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int events_a_time = 64;

// Not for want of anything that the request itself is about.
bool is_short_of_something(int number) noexcept {
  return number == EMFILE || number == ENFILE || number == ENOSPC || number == ENOMEM;
}

}  // namespace

result<void> epoll_queue::open(epoll_queue& out) {
  out.set_ = make_epoll();
  if (!out.set_) return tl::unexpected(call_failed("epoll_create1", errno));
  auto helpers = helper_threads::make();
  if (!helpers) return tl::unexpected(std::move(helpers.error()));
  out.helpers_ = *helpers;
  epoll_event bell{};
  bell.events = EPOLLIN;
  bell.data.ptr = nullptr;
  if (::epoll_ctl(out.set_.get(), EPOLL_CTL_ADD, out.helpers_->bell(), &bell) != 0) {
    return tl::unexpected(call_failed("epoll_ctl", errno));
  }
  return {};
}

// The kernel has nothing of ours: the loop has waited for whatever used its memory. Not in a forked child, where all of
// this is left as it is.
epoll_queue::~epoll_queue() {
  if (helpers_ != nullptr) helpers_->let_go();
  while (held_ != nullptr) delete std::exchange(held_, held_->after);
  while (done_ != nullptr) delete std::exchange(done_, done_->next);
  while (free_ != nullptr) delete std::exchange(free_, free_->next);
  while (bells_ != nullptr) delete std::exchange(bells_, bells_->next);
}

// Of its own; do_now() counts those of the requests, one or a few for each, for the process.
void epoll_queue::count(unsigned calls) noexcept {
  calls_ += calls;
  count_call(calls_made.enters, calls);
}

epoll_queue::pending* epoll_queue::allocate() noexcept {
  if (free_ == nullptr) return new (std::nothrow) pending;
  pending* const p = free_;
  free_ = p->next;
  p->next = nullptr;
  return p;
}

void epoll_queue::free(pending* p) noexcept {
  p->next = free_;
  free_ = p;
}

void epoll_queue::finish(pending& p, std::int32_t answer) noexcept {
  if (p.now == pending::state::starved) --starved_;
  if (p.now != pending::state::done) {
    (p.before != nullptr ? p.before->after : held_) = p.after;
    if (p.after != nullptr) p.after->before = p.before;
  }
  p.now = pending::state::done;
  p.answer = answer;
  p.next = nullptr;
  *done_end_ = &p;
  done_end_ = &p.next;
}

bool epoll_queue::prepare(const io_request& request, operation& op) noexcept {
  pending* const p = allocate();
  if (p == nullptr) return false;
  p->io = {request, 0};
  p->op = &op;
  p->job = nullptr;
  p->now = pending::state::waits;
  p->before = nullptr;
  p->after = held_;
  if (held_ != nullptr) held_->before = p;
  held_ = p;
  op.in_queue = p;
  if (request.code == io_code::bell) {
    listen(*p);
  } else {
    ++calls_;
    go_on(*p, do_now(p->io));
  }
  return true;
}

void epoll_queue::listen(pending& p) noexcept {
  const int descriptor = p.io.request.fd;
  bell* b = bells_;
  while (b != nullptr && b->descriptor != descriptor) b = b->next;
  if (b == nullptr) {
    b = new (std::nothrow) bell{.descriptor = descriptor, .next = bells_};
    if (b == nullptr) return finish(p, -ENOMEM);
    epoll_event rings{};
    // An event for each ring: what nobody has read yet does not end every wait.
    rings.events = EPOLLIN | EPOLLET;
    rings.data.ptr = reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(b) | 1);
    count(1);
    if (::epoll_ctl(set_.get(), EPOLL_CTL_ADD, descriptor, &rings) != 0) {
      const int number = errno;
      delete b;
      return finish(p, -number);
    }
    bells_ = b;
  }
  if (std::exchange(b->rung, false)) {
    // What rang may be taken already, by inbox::clear(); and an eventfd that blocks is not read for nothing.
    pollfd written{descriptor, POLLIN, 0};
    count(1);
    if (::poll(&written, 1, 0) > 0) {
      ++calls_;
      return finish(p, do_now(p.io));
    }
  }
  b->asked_by = &p;
  p.now = pending::state::listens;
}

void epoll_queue::forget(int descriptor) noexcept {
  for (bell** at = &bells_; *at != nullptr; at = &(*at)->next) {
    bell* const b = *at;
    if (b->descriptor != descriptor) continue;
    ::epoll_ctl(set_.get(), EPOLL_CTL_DEL, descriptor, nullptr);
    count(1);
    *at = b->next;
    delete b;
    return;
  }
}

void epoll_queue::go_on(pending& p, std::int32_t answer) noexcept {
  // A signal came in between; nobody asked for an end of this.
  if (answer == not_ready || answer == -EINTR) return watch(p);
  if (p.watched) unwatch(p);
  if (answer != needs_a_thread) return finish(p, answer);
  const std::int32_t status = helpers_->start(p.io, &p, p.job);
  if (status < 0) {
    // An open, and a connection that waits for its turn, would hold up everybody here.
    if (p.io.request.code == io_code::connect) return starve(p);
    if (p.io.request.code == io_code::open) return finish(p, status);
    return finish(p, do_blocking(p.io));
  }
  if (p.now == pending::state::starved) --starved_;
  p.now = pending::state::helped;
}

void epoll_queue::watch(pending& p) noexcept {
  epoll_event wanted{};
  wanted.events = events_of(p.io.request) | EPOLLONESHOT;
  wanted.data.ptr = &p;
  count(1);
  if (p.watched) {
    // It was ready, and somebody else was faster.
    ::epoll_ctl(set_.get(), EPOLL_CTL_MOD, p.watched.get(), &wanted);
    return;
  }
  p.watched = duplicate(p.io.request.fd);
  if (!p.watched) return is_short_of_something(errno) ? starve(p) : finish(p, -errno);
  count(1);
  if (::epoll_ctl(set_.get(), EPOLL_CTL_ADD, p.watched.get(), &wanted) != 0) {
    const int number = errno;
    p.watched.reset();
    return is_short_of_something(number) ? starve(p) : finish(p, -number);
  }
  if (p.now == pending::state::starved) --starved_;
  p.now = pending::state::waits;
  ++registered_;
  p.io.request.fd = p.watched.get();
}

void epoll_queue::starve(pending& p) noexcept {
  if (p.now == pending::state::starved) return;
  struct stat status{};
  count(1);
  if (::fstat(p.io.request.fd, &status) != 0) return finish(p, -errno);
  p.device = status.st_dev;
  p.inode = status.st_ino;
  p.now = pending::state::starved;
  ++starved_;
}

void epoll_queue::try_starved_again() noexcept {
  for (pending* p = held_; p != nullptr && starved_ != 0;) {
    pending& one = *p;
    p = p->after;
    if (one.now != pending::state::starved) continue;
    // It was closed, and the number may be another file's by now.
    struct stat status{};
    count(1);
    const bool same =
        ::fstat(one.io.request.fd, &status) == 0 && status.st_dev == one.device && status.st_ino == one.inode;
    ++calls_;
    go_on(one, same ? do_now(one.io) : -EBADF);
  }
}

// Out of the set by hand: it would stay there as long as anybody has the file open.
void epoll_queue::unwatch(pending& p) noexcept {
  ::epoll_ctl(set_.get(), EPOLL_CTL_DEL, p.watched.get(), nullptr);
  count(2);
  p.watched.reset();
  --registered_;
}

void epoll_queue::cancel(operation& op) noexcept {
  auto& p = *static_cast<pending*>(op.in_queue);
  const std::int32_t answer =
      p.io.done != 0 && p.io.request.code != io_code::connect ? static_cast<std::int32_t>(p.io.done) : -ECANCELED;
  switch (p.now) {
    case pending::state::waits: unwatch(p); return finish(p, answer);
    case pending::state::starved: return finish(p, answer);
    case pending::state::listens:
      for (bell* b = bells_; b != nullptr; b = b->next) {
        if (b->asked_by == &p) b->asked_by = nullptr;
      }
      return finish(p, -ECANCELED);
    case pending::state::helped:
      if (helpers_->give_up(*p.job)) finish(p, answer);
      return;
    case pending::state::done: return;
  }
}

void epoll_queue::take_from_helpers() noexcept {
  if (!helpers_->anything()) return;
  while (helper_job* const job = helpers_->take()) {
    auto& p = *static_cast<pending*>(job->asked_by);
    finish(p, job->answer);
    delete job;
  }
}

void epoll_queue::wait(std::int64_t timeout_ns) noexcept {
  if (starved_ != 0 && (timeout_ns < 0 || timeout_ns > tried_again_after_ns)) timeout_ns = tried_again_after_ns;
  collect(anything() ? 0 : timeout_ns);
  asked_ = true;
}

int epoll_queue::wait_for_events(void* events, int room, std::int64_t timeout_ns) noexcept {
  auto* const into = static_cast<epoll_event*>(events);
  count(1);
  if (timeout_ns <= 0) return ::epoll_wait(set_.get(), into, room, timeout_ns < 0 ? -1 : 0);
  const timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  if (!coarse_) {
    const int found = ::epoll_pwait2(set_.get(), into, room, &timeout, nullptr);
    if (found >= 0 || (errno != ENOSYS && errno != EPERM)) return found;
    coarse_ = true;
  }
  if (!timer_) {
    timer_ = make_timerfd();
    epoll_event rings{};
    rings.events = EPOLLIN;
    rings.data.ptr = this;
    if (timer_ && ::epoll_ctl(set_.get(), EPOLL_CTL_ADD, timer_.get(), &rings) != 0) timer_.reset();
  }
  count(2);
  const itimerspec at{{}, timeout};
  if (timer_ && ::timerfd_settime(timer_.get(), 0, &at, nullptr) == 0) {
    const int found = ::epoll_wait(set_.get(), into, room, -1);
    const itimerspec never{};
    ::timerfd_settime(timer_.get(), 0, &never, nullptr);
    return found;
  }
  // Late rather than early, and not at all with a number that is too large for the call.
  return ::epoll_wait(set_.get(), into, room,
                      static_cast<int>(std::min<std::int64_t>((timeout_ns + 999'999) / 1'000'000, 1'000'000'000)));
}

void epoll_queue::collect(std::int64_t timeout_ns) noexcept {
  epoll_event events[events_a_time];
  const int found = wait_for_events(events, events_a_time, timeout_ns);
  for (int i = 0; i < found; ++i) {
    void* const who = events[i].data.ptr;
    if (who == nullptr) {
      count(1);
      helpers_->quiet();
    } else if ((reinterpret_cast<std::uintptr_t>(who) & 1) != 0) {
      auto& b = *reinterpret_cast<bell*>(reinterpret_cast<std::uintptr_t>(who) & ~std::uintptr_t{1});
      pending* const asked_by = std::exchange(b.asked_by, nullptr);
      b.rung = asked_by == nullptr;
      ++calls_;
      if (asked_by != nullptr) finish(*asked_by, do_now(asked_by->io));
    } else if (who != this) {
      auto& p = *static_cast<pending*>(who);
      ++calls_;
      go_on(p, do_now(p.io));
    }
  }
  if (starved_ != 0) try_starved_again();
  take_from_helpers();
}

}  // namespace quoit::inline v1::detail
