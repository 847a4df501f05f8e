// What the examples with threads share, beside arguments.hpp.
#pragma once

#include <chrono>
#include <quoit.hpp>

#include "arguments.hpp"

// The next message. errc::timed_out: nothing is left to read, and fewer than `publishers` are there who could publish
// more. errc::cancelled: Ctrl-C. A publisher that was killed counts until this process has noticed, which takes it a
// recheck or two.
template <class T>
quoit::result<quoit::sample<T>> next_of(quoit::subscriber<T>& subscriber, std::size_t publishers) {
  while (!stop_wanted) {
    // Asked before: who is gone by now has published all that it will.
    const bool gone = subscriber.publishers() < publishers;
    auto sample = subscriber.wait(std::chrono::milliseconds(200));
    if (sample || sample.error() != quoit::errc::timed_out || gone) return sample;
  }
  return tl::unexpected(quoit::error(quoit::errc::cancelled));
}
