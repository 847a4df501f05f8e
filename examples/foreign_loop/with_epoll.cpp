// Quotes and a timer in one epoll loop of one's own. No coroutines, no executor.
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <cerrno>
#include <quoit.hpp>

#include "../common/arguments.hpp"
#include "../publish_subscribe/quote.hpp"

int main(int argc, char** argv) {
  const arguments args(argc, argv, "[--bus NAME] [--count N]");
  stop_on_ctrl_c();

  auto bus = quoit::bus::open(args.bus(), {.node_name = "with_epoll"});
  if (!bus) return failed("opening the bus", bus.error());
  auto quotes = bus->subscriber<quote>("market/quotes");
  if (!quotes) return failed("opening the topic", quotes.error());
  const auto messages = quotes->fd();
  if (!messages) return failed("making a descriptor", messages.error());

  const int loop = ::epoll_create1(EPOLL_CLOEXEC);
  const int timer = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  const itimerspec each_20_ms{{0, 20'000'000}, {0, 20'000'000}};
  ::timerfd_settime(timer, 0, &each_20_ms, nullptr);
  for (const int fd : {*messages, timer}) {
    epoll_event wanted{};
    wanted.events = EPOLLIN;
    wanted.data.fd = fd;
    if (::epoll_ctl(loop, EPOLL_CTL_ADD, fd, &wanted) != 0) return failed("epoll_ctl failed");
  }

  const long count = args.number("--count", -1);
  long received = 0, ticks = 0;
  while (received != count && !stop_wanted) {
    epoll_event ready[4];
    const int n = ::epoll_wait(loop, ready, 4, -1);
    if (n < 0 && errno != EINTR) return failed("epoll_wait failed");
    for (int i = 0; i < n; ++i) {
      if (ready[i].data.fd == timer) {
        std::uint64_t times = 0;
        if (::read(timer, &times, sizeof times) == sizeof times) ticks += static_cast<long>(times);
        continue;
      }
      // One a turn: the descriptor stays readable while there are more. There may be none.
      auto sample = quotes->poll();
      if (!sample) return failed("receiving", sample.error());
      if (*sample) ++received;
    }
  }
  std::printf("%ld quotes, and a timer beside them that %s\n", received, ticks > 0 ? "ticked" : "had no time to");
  ::epoll_ctl(loop, EPOLL_CTL_DEL, *messages, nullptr);
  ::close(timer);
  ::close(loop);
}
