// The system calls that messages take, and what is copied by them: counted where they are made. Whoever makes none
// counts none, and a system call takes some fifty times what counting it does.
//
// Thread safety: any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace quoit::inline v1::detail {

struct call_counts {
  std::atomic<std::uint64_t> sends{0};
  std::atomic<std::uint64_t> receives{0};
  std::atomic<std::uint64_t> looks{0};
  std::atomic<std::uint64_t> sleeps{0};
  std::atomic<std::uint64_t> wakes{0};
  std::atomic<std::uint64_t> enters{0};
  std::atomic<std::uint64_t> others{0};
  std::atomic<std::uint64_t> copies{0};
  std::atomic<std::uint64_t> copied_bytes{0};
};
extern call_counts calls_made;

inline void count_call(std::atomic<std::uint64_t>& what, std::uint64_t n = 1) noexcept {
  // relaxed: a counter
  what.fetch_add(n, std::memory_order_relaxed);
}

}  // namespace quoit::inline v1::detail
