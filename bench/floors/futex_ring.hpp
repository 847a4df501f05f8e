// As futex.hpp, but each side waits for its word in an io_uring (Linux 6.7 and later), and nothing else.
#pragma once

#include "futex.hpp"
#include "ring.hpp"

namespace floors {

inline void futex_take(ring& in, std::uint32_t& word, std::uint32_t value, std::uint64_t& calls) {
  // IORING_OP_FUTEX_WAIT and FUTEX2_SIZE_U32: liburing knows them as of 2.5.
  constexpr std::uint8_t futex_wait_code = 51;
  constexpr int size_u32 = 2;
  for (;;) {
    const std::uint32_t seen = __atomic_load_n(&word, __ATOMIC_ACQUIRE);
    if (seen == value) return;
    io_uring_sqe* const sqe = in.entry();
    std::memset(sqe, 0, sizeof *sqe);
    sqe->opcode = futex_wait_code;
    sqe->fd = size_u32;
    sqe->addr = reinterpret_cast<std::uintptr_t>(&word);
    sqe->off = seen;
    sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
    const int result = in.sleep(calls);
    // The word had changed already.
    if (result < 0 && result != -EAGAIN) end_floor("IORING_OP_FUTEX_WAIT", -result);
  }
}

// Each returns how often it called io_uring_enter.
inline std::uint64_t futex_ring_ask(futex_memory& m, std::uint64_t turns, histogram& h) {
  ring in;
  std::uint64_t calls = 0;
  std::uint32_t turn = m.turn;
  for (std::uint64_t i = 0; i < turns; ++i) {
    const std::uint64_t begin = ticks();
    futex_give(m.there, ++turn);
    futex_take(in, m.back, turn, calls);
    h.record(ticks() - begin);
  }
  m.turn = turn;
  return calls;
}

inline std::uint64_t futex_ring_answer(futex_memory& m, std::uint64_t turns) {
  ring in;
  std::uint64_t calls = 0;
  std::uint32_t turn = m.turn_of_answers;
  for (std::uint64_t i = 0; i < turns; ++i) {
    futex_take(in, m.there, ++turn, calls);
    futex_give(m.back, turn);
  }
  m.turn_of_answers = turn;
  return calls;
}

}  // namespace floors
