// FUTEX_WAIT and FUTEX_WAKE, shared, on one word per direction, and nothing else; with a timeout, where one is asked
// for, that is never over.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>

#include <ctime>

#include "pair.hpp"

namespace floors {

struct futex_memory {
  alignas(128) std::uint32_t there;
  alignas(128) std::uint32_t back;
  alignas(128) std::uint32_t turn;
  alignas(128) std::uint32_t turn_of_answers;
};

inline constexpr timespec futex_timeout{0, 250'000'000};

inline void futex_give(std::uint32_t& word, std::uint32_t value) {
  __atomic_store_n(&word, value, __ATOMIC_RELEASE);
  ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

inline void futex_take(std::uint32_t& word, std::uint32_t value, const timespec* timeout) {
  for (;;) {
    const std::uint32_t seen = __atomic_load_n(&word, __ATOMIC_ACQUIRE);
    if (seen == value) return;
    ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, timeout, nullptr, 0);
  }
}

inline void futex_ask(futex_memory& m, std::uint64_t turns, histogram& h, const timespec* timeout = nullptr) {
  std::uint32_t turn = m.turn;
  for (std::uint64_t i = 0; i < turns; ++i) {
    const std::uint64_t begin = ticks();
    futex_give(m.there, ++turn);
    futex_take(m.back, turn, timeout);
    h.record(ticks() - begin);
  }
  m.turn = turn;
}

inline void futex_answer(futex_memory& m, std::uint64_t turns, const timespec* timeout = nullptr) {
  std::uint32_t turn = m.turn_of_answers;
  for (std::uint64_t i = 0; i < turns; ++i) {
    futex_take(m.there, ++turn, timeout);
    futex_give(m.back, turn);
  }
  m.turn_of_answers = turn;
}

}  // namespace floors
