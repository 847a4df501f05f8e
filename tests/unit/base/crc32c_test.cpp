#include "quoit/detail/crc32c.hpp"

#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace quoit::detail;

TEST_CASE("the check is the CRC32C that others compute, but for what it begins and ends with") {
  // From RFC 3720, B.4: 32 bytes of zeros, of ones, and ascending.
  std::byte bytes[32]{};
  CHECK(~crc32c_words(~u32{0}, bytes, 32) == 0x8a9136aa);
  for (auto& b : bytes) b = std::byte{0xff};
  CHECK(~crc32c_words(~u32{0}, bytes, 32) == 0x62a8ab43);
  for (std::size_t i = 0; i < 32; ++i) bytes[i] = static_cast<std::byte>(i);
  CHECK(~crc32c_words(~u32{0}, bytes, 32) == 0x46dd794e);
  CHECK(~crc32c_by_table(~u32{0}, bytes, 32) == 0x46dd794e);
}

TEST_CASE("instruction, three chains and table agree at every length") {
  std::mt19937_64 random(7);
  std::vector<std::byte> bytes(4096);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  for (std::size_t n = 0; n <= bytes.size(); n += 8) {
    const auto begin = static_cast<u32>(random());
    const u32 expected = crc32c_by_table(begin, bytes.data(), n);
    CHECK(crc32c_words(begin, bytes.data(), n) == expected);
    if (crc32c_in_hardware()) CHECK(crc32c_inline(begin, bytes.data(), n) == expected);
  }
}
