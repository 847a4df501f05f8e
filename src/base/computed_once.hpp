#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace quoit::inline v1::detail {

// A value that is computed at first use. Unlike with a static local variable no thread waits for the one that computes:
// each computes for itself until the value is there. So a process that is forked in the middle of the first use does
// not wait for a thread that it does not have. Thread safety: any thread.
template <class T>
class computed_once {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  constexpr computed_once() = default;

  template <class Compute>
  T get(Compute compute) noexcept {
    // sync(once.value): the value is whole once it is said to be there
    if (state_.load(std::memory_order_acquire) == there) return read();
    const T value = compute();
    unsigned expected = empty;
    // relaxed: it decides who writes, and what is written is ordered by the release below
    if (state_.compare_exchange_strong(expected, writing, std::memory_order_relaxed)) {
      std::array<std::uint64_t, words> copy{};
      std::memcpy(copy.data(), &value, sizeof value);
      for (std::size_t i = 0; i < words; ++i) value_[i].store(copy[i], std::memory_order_relaxed);  // relaxed: as above
      state_.store(there, std::memory_order_release);  // sync(once.value): as above
    }
    return value;
  }

 private:
  static constexpr std::size_t words = (sizeof(T) + 7) / 8;
  static constexpr unsigned empty = 0, writing = 1, there = 2;

  T read() const noexcept {
    std::array<std::uint64_t, words> copy{};
    for (std::size_t i = 0; i < words; ++i)
      copy[i] = value_[i].load(std::memory_order_relaxed);  // relaxed: as in get()
    T value;
    std::memcpy(&value, copy.data(), sizeof value);
    return value;
  }

  std::atomic<unsigned> state_{empty};
  std::array<std::atomic<std::uint64_t>, words> value_{};
};

}  // namespace quoit::inline v1::detail
