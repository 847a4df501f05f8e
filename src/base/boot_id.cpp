#include "base/boot_id.hpp"

#include <fcntl.h>

#include "base/computed_once.hpp"
#include "base/fd.hpp"

namespace quoit::inline v1::detail {

namespace {

std::array<std::uint8_t, 16> read_boot_id() noexcept {
  std::array<std::uint8_t, 16> id{};
  const fd file = open_file("/proc/sys/kernel/random/boot_id", O_RDONLY);
  char text[64];
  const ssize_t got = file ? ::read(file.get(), text, sizeof text) : 0;
  std::size_t digits = 0;
  for (ssize_t i = 0; i < got && digits < 32; ++i) {
    const char c = text[i];
    int value = 0;
    if (c >= '0' && c <= '9') {
      value = c - '0';
    } else if (c >= 'a' && c <= 'f') {
      value = c - 'a' + 10;
    } else {
      continue;
    }
    id[digits / 2] = static_cast<std::uint8_t>(id[digits / 2] << 4 | value);
    ++digits;
  }
  return id;
}

}  // namespace

std::array<std::uint8_t, 16> boot_id() noexcept {
  static constinit computed_once<std::array<std::uint8_t, 16>> id;
  return id.get(read_boot_id);
}

}  // namespace quoit::inline v1::detail
