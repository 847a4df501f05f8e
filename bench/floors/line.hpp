// Two u64 on lines of their own; each side spins on one and stores the other. The distance between two cores.
#pragma once

#include "pair.hpp"

namespace floors {

struct line_memory {
  alignas(128) std::uint64_t there;
  alignas(128) std::uint64_t back;
  alignas(128) std::uint64_t turn;  // of the side that asks
  alignas(128) std::uint64_t turn_of_answers;
};

inline void line_ask(line_memory& m, std::uint64_t turns, histogram& h) {
  std::uint64_t turn = m.turn;
  for (std::uint64_t i = 0; i < turns; ++i) {
    const std::uint64_t begin = ticks();
    __atomic_store_n(&m.there, ++turn, __ATOMIC_RELEASE);
    while (__atomic_load_n(&m.back, __ATOMIC_ACQUIRE) != turn) {
    }
    h.record(ticks() - begin);
  }
  m.turn = turn;
}

inline void line_answer(line_memory& m, std::uint64_t turns) {
  std::uint64_t turn = m.turn_of_answers;
  for (std::uint64_t i = 0; i < turns; ++i) {
    ++turn;
    while (__atomic_load_n(&m.there, __ATOMIC_ACQUIRE) != turn) {
    }
    __atomic_store_n(&m.back, turn, __ATOMIC_RELEASE);
  }
  m.turn_of_answers = turn;
}

}  // namespace floors
