// Two slots per direction, each a payload and an adjacent sequence. The sender copies the payload in and stores
// the sequence, the receiver spins on it and copies the payload out, and answers alike: the least that handing
// over a message can cost.
#pragma once

#include <cstring>
#include <type_traits>

#include "pair.hpp"

namespace floors {

inline constexpr std::size_t slot_bytes_max = std::size_t{1} << 20;

struct slot {
  // The sequence first: it and small payloads share a line.
  alignas(128) std::uint64_t sequence;
  unsigned char payload[slot_bytes_max];
};

struct slot_memory {
  slot there[2];
  slot back[2];
  alignas(128) std::uint64_t turn;
  alignas(128) std::uint64_t turn_of_answers;
};

// The compiler has to take what lies at `p` as read, and as changed.
inline void keep(const void* p) { __asm__ __volatile__("" ::"r"(p) : "memory"); }

// Calls `f` with the size, as a constant where it is one of the usual ones: a copy of a known size is no call.
template <class F>
auto with_size(std::size_t bytes, F f) {
  switch (bytes) {
    case 8: return f(std::integral_constant<std::size_t, 8>{});
    case 64: return f(std::integral_constant<std::size_t, 64>{});
    case 256: return f(std::integral_constant<std::size_t, 256>{});
    case 1024: return f(std::integral_constant<std::size_t, 1024>{});
    case 4096: return f(std::integral_constant<std::size_t, 4096>{});
    default: return f(bytes);
  }
}

template <class Size>
void slot_ask(slot_memory& m, std::uint64_t turns, Size bytes, histogram& h) {
  std::vector<unsigned char> mine(bytes, 7), got(bytes);
  std::uint64_t turn = m.turn;
  for (std::uint64_t i = 0; i < turns; ++i) {
    ++turn;
    slot& out = m.there[turn & 1];
    slot& in = m.back[turn & 1];
    const std::uint64_t begin = ticks();
    std::memcpy(out.payload, mine.data(), bytes);
    __atomic_store_n(&out.sequence, turn, __ATOMIC_RELEASE);
    while (__atomic_load_n(&in.sequence, __ATOMIC_ACQUIRE) != turn) {
    }
    std::memcpy(got.data(), in.payload, bytes);
    keep(got.data());
    h.record(ticks() - begin);
  }
  m.turn = turn;
}

template <class Size>
void slot_answer(slot_memory& m, std::uint64_t turns, Size bytes) {
  std::vector<unsigned char> got(bytes);
  std::uint64_t turn = m.turn_of_answers;
  for (std::uint64_t i = 0; i < turns; ++i) {
    ++turn;
    slot& in = m.there[turn & 1];
    slot& out = m.back[turn & 1];
    while (__atomic_load_n(&in.sequence, __ATOMIC_ACQUIRE) != turn) {
    }
    std::memcpy(got.data(), in.payload, bytes);
    keep(got.data());
    std::memcpy(out.payload, got.data(), bytes);
    __atomic_store_n(&out.sequence, turn, __ATOMIC_RELEASE);
  }
  m.turn_of_answers = turn;
}

}  // namespace floors
