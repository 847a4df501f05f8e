// CRC32C (Castagnoli), word by word, as the processor computes it.
//
// What is checked here begins and ends at whole words, so there is no tail of single bytes. The register is passed
// in and out as it is: what begins with 0xffffffff and is inverted at the end is the CRC32C of everybody else.
#pragma once

#include <cstddef>
#include <cstring>

#include "quoit/detail/atomic.hpp"
#include "quoit/detail/export.hpp"

namespace quoit::inline v1::detail {

// Whether crc32c_word() may be used. Where it may not, everything goes through crc32c_words().
QUOIT_EXPORT bool crc32c_in_hardware() noexcept;

// `bytes` is a multiple of 8. With or without hardware; three chains at a time where it is long.
QUOIT_EXPORT u32 crc32c_words(u32 crc, const std::byte* data, std::size_t bytes) noexcept;

// The table, for tests that compare.
QUOIT_EXPORT u32 crc32c_by_table(u32 crc, const std::byte* data, std::size_t bytes) noexcept;

// One word. Assembly, because the intrinsic asks for a compiler flag that whoever includes this does not have.
[[gnu::always_inline]] inline u32 crc32c_word(u32 crc, u64 word) noexcept {
#if defined(__x86_64__)
  u64 wide = crc;
  __asm__("crc32q %1, %0" : "+r"(wide) : "rm"(word));
  return static_cast<u32>(wide);
#else
  std::byte bytes[8];
  std::memcpy(bytes, &word, sizeof bytes);
  return crc32c_by_table(crc, bytes, sizeof bytes);
#endif
}

// Up to here a message is checked where it is committed: the chains of several messages overlap in the processor.
inline constexpr std::size_t crc32c_inline_bytes = 256;

// Where the hardware has it. `bytes` is a multiple of 8.
[[gnu::always_inline]] inline u32 crc32c_inline(u32 crc, const std::byte* data, std::size_t bytes) noexcept {
  if (bytes > crc32c_inline_bytes) [[unlikely]]
    return crc32c_words(crc, data, bytes);
  for (std::size_t at = 0; at < bytes; at += 8) {
    u64 word = 0;
    std::memcpy(&word, data + at, sizeof word);
    crc = crc32c_word(crc, word);
  }
  return crc;
}

}  // namespace quoit::inline v1::detail
