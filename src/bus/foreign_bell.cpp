#include "bus/foreign_bell.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>

#include "base/call_failed.hpp"

namespace quoit::inline v1::detail {

namespace {

timespec as_timespec(std::chrono::nanoseconds d) noexcept {
  return {static_cast<time_t>(d.count() / 1'000'000'000), static_cast<long>(d.count() % 1'000'000'000)};
}

}  // namespace

foreign_bell::foreign_bell(node& owner, ringer who, std::chrono::nanoseconds period) noexcept
    : owner_(owner), who_(who), period_(period), recheck_(period) {}

result<std::unique_ptr<foreign_bell>> foreign_bell::make(node& owner, ringer who, int sockets,
                                                         std::chrono::nanoseconds period) {
  std::unique_ptr<foreign_bell> made(new foreign_bell(owner, who, period));
  if (auto ok = made->set_up(sockets); !ok) return tl::unexpected(std::move(ok.error()));
  return made;
}

result<void> foreign_bell::set_up(int sockets) {
  if (who_ != ringer::processes) {
    written_ = make_eventfd(EFD_NONBLOCK);
    if (!written_) return tl::unexpected(call_failed("fd(): eventfd", errno));
  } else {
    auto pipe = owner_.make_endpoint_pipe();
    if (!pipe) return tl::unexpected(std::move(pipe.error()));
    written_ = std::move(pipe->descriptor);
    pipe_ = pipe->number;
  }
  timer_ = make_timerfd();
  if (!timer_) return tl::unexpected(call_failed("fd(): timerfd_create", errno));
  wind_up();
  set_ = make_epoll();
  if (!set_) return tl::unexpected(call_failed("fd(): epoll_create1", errno));
  for (const int part : {written_.get(), timer_.get(), sockets}) {
    epoll_event readable{};
    readable.events = EPOLLIN;
    if (part >= 0 && ::epoll_ctl(set_.get(), EPOLL_CTL_ADD, part, &readable) != 0) {
      return tl::unexpected(call_failed("fd(): epoll_ctl", errno));
    }
  }
  ring();
  return {};
}

foreign_bell::~foreign_bell() {
  // What a forked child has is a copy of the same set: it is its parent that goes on with it.
  if (owner_.forked()) return;
  if (pipe_ != 0) owner_.remove_endpoint_pipe(pipe_);
  if (!set_) return;
  // A copy in a forked child keeps the set in loops that this process has put it into: it is not readable there any
  // more.
  ::epoll_ctl(set_.get(), EPOLL_CTL_DEL, written_.get(), nullptr);
  ::epoll_ctl(set_.get(), EPOLL_CTL_DEL, timer_.get(), nullptr);
}

void foreign_bell::ring() noexcept {
  if (rung_) return;
  rung_ = true;
  const std::uint64_t one = 1;
  // One that is full is readable.
  [[maybe_unused]] const auto written = ::write(written_.get(), &one, sizeof one);
}

void foreign_bell::clear() noexcept {
  if (who_ == ringer::nobody && !rung_) return;
  rung_ = false;
  std::byte taken[512];
  // What comes after a short read is a wake for what comes after this.
  while (::read(written_.get(), taken, sizeof taken) == sizeof taken) {
  }
}

bool foreign_bell::recheck_is_due() noexcept {
  if (!recheck_.over()) return false;
  wind_up();
  return true;
}

// In this order: when the timer has run out, the deadline is over too.
void foreign_bell::wind_up() noexcept {
  recheck_ = deadline(period_);
  const itimerspec once{{}, as_timespec(period_)};
  ::timerfd_settime(timer_.get(), 0, &once, nullptr);
}

}  // namespace quoit::inline v1::detail
