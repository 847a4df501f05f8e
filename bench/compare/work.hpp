// What is done with a message, whichever way it goes: one side writes each of its words, the other one reads each of
// them and adds them up. A sum that is not what was written is an error: what is measured did arrive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bench {

using two_words = std::uint64_t __attribute__((vector_size(16)));

// Writes the words first, first + 1, ... Requires: `bytes` is a multiple of 8.
inline void produce(std::byte* to, std::size_t bytes, std::uint64_t first) {
  const std::size_t words = bytes / 8;
  std::size_t i = 0;
  two_words next = {first, first + 1};
  for (; i + 8 <= words; i += 8) {
    for (std::size_t k = 0; k < 4; ++k) {
      std::memcpy(to + (i + 2 * k) * 8, &next, sizeof next);
      next += 2;
    }
  }
  // The loop compares pointers: with a count of words, GCC 12 at -O3 warns that 8 * words may overflow.
  std::byte* const end = to + words * 8;
  std::uint64_t word = first + i;
  for (std::byte* at = to + i * 8; at != end; at += 8, ++word) std::memcpy(at, &word, sizeof word);
}

// The sum of the words. Requires: as above.
inline std::uint64_t consume(const std::byte* from, std::size_t bytes) {
  const std::size_t words = bytes / 8;
  std::size_t i = 0;
  two_words sums[4] = {};
  for (; i + 8 <= words; i += 8) {
    for (std::size_t k = 0; k < 4; ++k) {
      two_words two;
      std::memcpy(&two, from + (i + 2 * k) * 8, sizeof two);
      sums[k] += two;
    }
  }
  const two_words all = sums[0] + sums[1] + sums[2] + sums[3];
  std::uint64_t sum = all[0] + all[1];
  const std::byte* const end = from + words * 8;  // as above
  for (const std::byte* at = from + i * 8; at != end; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    sum += word;
  }
  return sum;
}

// What consume() answers for what produce() wrote.
constexpr std::uint64_t sum_of(std::size_t bytes, std::uint64_t first) {
  const std::uint64_t words = bytes / 8;
  return words * first + words * (words - (words != 0 ? 1 : 0)) / 2;
}

}  // namespace bench
