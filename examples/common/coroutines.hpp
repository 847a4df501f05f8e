// What the coroutine forms of the examples share, beside arguments.hpp.
#pragma once

#include <csignal>
#include <quoit.hpp>

#include "arguments.hpp"

namespace detail {

// `signals` goes with this coroutine: a second Ctrl-C finds nobody who waits for it, and ends the program at once.
inline quoit::task<> stop_at_signal(quoit::executor& where, quoit::signal_set signals) {
  const auto number = co_await signals.next();
  if (number) where.request_stop();
}

}  // namespace detail

// Ctrl-C asks the tasks of the executor to stop: what they await answers errc::cancelled. From now on, not only when
// the executor runs: until then the signal is kept. The executor stays where it is.
inline quoit::result<void> stop_on_ctrl_c(quoit::executor& where) {
  auto signals = quoit::signal_set::open({SIGINT, SIGTERM});
  if (!signals) return tl::unexpected(signals.error());
  where.spawn(detail::stop_at_signal(where, std::move(*signals)));
  return {};
}

// The next message. errc::timed_out: nothing is left to read, and fewer than `publishers` are there who could publish
// more. A publisher that was killed counts until this process has noticed, which takes it a recheck or two.
template <class T>
quoit::task<quoit::result<quoit::sample<T>>> next_of(quoit::subscriber<T>& subscriber, std::size_t publishers) {
  for (;;) {
    // Asked before: who is gone by now has published all that it will.
    const bool gone = subscriber.publishers() < publishers;
    auto sample = co_await quoit::timeout(std::chrono::milliseconds(200), subscriber.next());
    if (sample || sample.error() != quoit::errc::timed_out || gone) co_return sample;
  }
}
