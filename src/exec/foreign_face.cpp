#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <cerrno>

#include "base/call_failed.hpp"
#include "exec/loop_parts.hpp"

namespace quoit::inline v1::detail {

result<std::unique_ptr<foreign_face>> foreign_face::make(int engine, int inbox) {
  auto made = std::make_unique<foreign_face>();
  made->timer_ = make_timerfd();
  if (!made->timer_) return tl::unexpected(call_failed("fd(): timerfd_create", errno));
  made->set_ = make_epoll();
  if (!made->set_) return tl::unexpected(call_failed("fd(): epoll_create1", errno));
  for (const int part : {made->timer_.get(), engine, inbox}) {
    epoll_event readable{};
    readable.events = EPOLLIN;
    if (::epoll_ctl(made->set_.get(), EPOLL_CTL_ADD, part, &readable) != 0)
      return tl::unexpected(call_failed("fd(): epoll_ctl", errno));
  }
  made->readable_now();
  return made;
}

void foreign_face::readable_at(std::int64_t at_ns, std::int64_t now_ns) noexcept {
  // Set only for what comes earlier than what it is set for: one call for each recheck, not one for each poll.
  const bool ran_out = rings_ns_ <= now_ns;
  if (at_ns >= rings_ns_ && !ran_out) return;
  rings_ns_ = at_ns;
  itimerspec when{};  // never
  if (at_ns != never)
    when.it_value = {static_cast<time_t>(at_ns / 1'000'000'000), static_cast<long>(at_ns % 1'000'000'000)};
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

}  // namespace quoit::inline v1::detail
