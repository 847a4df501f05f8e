#include "quoit/detail/crc32c.hpp"

#include <array>

namespace quoit::inline v1::detail {

namespace {

constexpr u32 polynomial = 0x82f63b78;  // reflected

constexpr std::array<u32, 256> make_table() {
  std::array<u32, 256> table{};
  for (u32 i = 0; i < 256; ++i) {
    u32 crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? polynomial : 0);
    table[i] = crc;
  }
  return table;
}
constexpr std::array<u32, 256> table = make_table();

// An instruction waits three cycles for the one before it, and one can begin in each cycle: so three chains run side
// by side over three blocks, and are put together by what a block of zeros does to a register, which is linear.
constexpr std::size_t block_bytes = 256;

constexpr std::array<std::array<u32, 256>, 4> make_shift() {
  std::array<u32, 32> of_bit{};
  for (u32 bit = 0; bit < 32; ++bit) {
    u32 crc = u32{1} << bit;
    for (std::size_t i = 0; i < block_bytes; ++i) crc = (crc >> 8) ^ table[crc & 0xff];
    of_bit[bit] = crc;
  }
  std::array<std::array<u32, 256>, 4> shift{};
  for (u32 byte = 0; byte < 4; ++byte) {
    for (u32 value = 0; value < 256; ++value) {
      u32 crc = 0;
      for (u32 bit = 0; bit < 8; ++bit) {
        if ((value >> bit & 1) != 0) crc ^= of_bit[byte * 8 + bit];
      }
      shift[byte][value] = crc;
    }
  }
  return shift;
}
constexpr std::array<std::array<u32, 256>, 4> shift = make_shift();

u32 behind_a_block(u32 crc) noexcept {
  return shift[0][crc & 0xff] ^ shift[1][crc >> 8 & 0xff] ^ shift[2][crc >> 16 & 0xff] ^ shift[3][crc >> 24];
}

u64 word_at(const std::byte* data) noexcept {
  u64 word = 0;
  std::memcpy(&word, data, sizeof word);
  return word;
}

}  // namespace

namespace {

#if defined(__x86_64__)
// Looked up when the library is loaded. Static objects of others that are made before see false, and use the table.
const bool in_hardware = [] {
  __builtin_cpu_init();
  return __builtin_cpu_supports("sse4.2") != 0;
}();
#else
constexpr bool in_hardware = false;
#endif

}  // namespace

bool crc32c_in_hardware() noexcept { return in_hardware; }

u32 crc32c_by_table(u32 crc, const std::byte* data, std::size_t bytes) noexcept {
  for (std::size_t at = 0; at < bytes; ++at) crc = (crc >> 8) ^ table[(crc ^ static_cast<u32>(data[at])) & 0xff];
  return crc;
}

u32 crc32c_words(u32 crc, const std::byte* data, std::size_t bytes) noexcept {
  if (!crc32c_in_hardware()) return crc32c_by_table(crc, data, bytes);
  for (; bytes >= 3 * block_bytes; data += 3 * block_bytes, bytes -= 3 * block_bytes) {
    u32 second = 0;
    u32 third = 0;
    for (std::size_t at = 0; at < block_bytes; at += 8) {
      crc = crc32c_word(crc, word_at(data + at));
      second = crc32c_word(second, word_at(data + block_bytes + at));
      third = crc32c_word(third, word_at(data + 2 * block_bytes + at));
    }
    crc = behind_a_block(behind_a_block(crc) ^ second) ^ third;
  }
  for (std::size_t at = 0; at < bytes; at += 8) crc = crc32c_word(crc, word_at(data + at));
  return crc;
}

}  // namespace quoit::inline v1::detail
