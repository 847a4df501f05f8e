// futex(2), shared between processes. (std::atomic::wait is not: it wakes within one process only.)
#pragma once

#include <chrono>
#include <cstdint>

namespace quoit::inline v1::detail {

// Sleeps while `word` is `expected`, at most `timeout`; negative: no limit. Returns when woken, when the word
// has another value, at the timeout, on a signal, or for no reason: the caller looks again.
void futex_wait(const std::uint32_t& word, std::uint32_t expected, std::chrono::nanoseconds timeout) noexcept;

// Wakes everybody who sleeps on `word`.
void futex_wake(const std::uint32_t& word) noexcept;

}  // namespace quoit::inline v1::detail
