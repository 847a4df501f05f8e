#include "words.hpp"

#include <fmt/core.h>

#include <array>
#include <ctime>

namespace cli {

namespace {

std::string second_of(quoit::publishing_time time) {
  const std::time_t seconds = std::chrono::floor<std::chrono::seconds>(time).time_since_epoch().count();
  std::tm parts{};
  char text[32];
  if (::gmtime_r(&seconds, &parts) == nullptr || std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
    return fmt::format("{} s", seconds);
  }
  return text;
}

std::int64_t fraction_ns(quoit::publishing_time time) {
  return (time - std::chrono::floor<std::chrono::seconds>(time)).count();
}

}  // namespace

std::string words_of(quoit::publishing_time time) {
  if (time == quoit::publishing_time{}) return "-";
  return fmt::format("{}.{:03}Z", second_of(time), fraction_ns(time) / 1'000'000);
}

std::string exact_words_of(quoit::publishing_time time) {
  return fmt::format("{}.{:09}Z", second_of(time), fraction_ns(time));
}

std::string words_of_bytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> units{"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < units.size(); ++unit) value /= 1024;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

}  // namespace cli
