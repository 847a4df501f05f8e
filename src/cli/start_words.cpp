#include "start_words.hpp"

#include <fmt/core.h>

#include <charconv>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string_view>

namespace cli {

namespace {

using std::chrono::nanoseconds;

// Reads from the front of a text, and notes where it does not fit.
class scanner {
 public:
  explicit scanner(std::string_view text) : rest_(text) {}

  bool at_end() const { return rest_.empty(); }
  bool skip(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  // Exactly so many digits.
  std::optional<int> digits(std::size_t count) {
    if (rest_.size() < count) return std::nullopt;
    int value = 0;
    for (const char c : rest_.substr(0, count)) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    rest_.remove_prefix(count);
    return value;
  }
  // Digits behind a point; more than nine are cut off.
  std::optional<nanoseconds> fraction() {
    std::int64_t value = 0;
    std::size_t seen = 0;
    for (; seen < rest_.size() && rest_[seen] >= '0' && rest_[seen] <= '9'; ++seen) {
      if (seen < 9) value = value * 10 + (rest_[seen] - '0');
    }
    if (seen == 0) return std::nullopt;
    for (std::size_t i = seen; i < 9; ++i) value *= 10;
    rest_.remove_prefix(seen);
    return nanoseconds(value);
  }

 private:
  std::string_view rest_;
};

std::optional<quoit::publishing_time> absolute(std::string_view text) {
  scanner s(text);
  const auto year = s.digits(4);
  if (!year || !s.skip('-')) return std::nullopt;
  const auto month = s.digits(2);
  if (!month || !s.skip('-')) return std::nullopt;
  const auto day = s.digits(2);
  if (!day || (!s.skip('T') && !s.skip('t') && !s.skip(' '))) return std::nullopt;
  const auto hour = s.digits(2);
  if (!hour || !s.skip(':')) return std::nullopt;
  const auto minute = s.digits(2);
  if (!minute || !s.skip(':')) return std::nullopt;
  const auto second = s.digits(2);
  if (!second) return std::nullopt;
  nanoseconds fraction{};
  if (s.skip('.')) {
    const auto given = s.fraction();
    if (!given) return std::nullopt;
    fraction = *given;
  }
  std::chrono::minutes offset{};
  if (!s.skip('Z') && !s.skip('z')) {
    const bool east = s.skip('+');
    if (!east && !s.skip('-')) return std::nullopt;
    const auto hours = s.digits(2);
    if (!hours || !s.skip(':')) return std::nullopt;
    const auto minutes = s.digits(2);
    if (!minutes || *hours > 23 || *minutes > 59) return std::nullopt;
    offset = std::chrono::hours(*hours) + std::chrono::minutes(*minutes);
    if (!east) offset = -offset;
  }
  const std::chrono::year_month_day date{std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  // 60: a leap second, which the system's clock does not count.
  if (!s.at_end() || !date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  // What nanoseconds in 64 bits can say.
  if (*year < 1678 || *year > 2261) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(*hour) + std::chrono::minutes(*minute) +
         std::chrono::seconds(*second) + fraction - offset;
}

std::optional<nanoseconds> duration(std::string_view text) {
  double amount = 0;
  const auto [end, why] = std::from_chars(text.data(), text.data() + text.size(), amount);
  if (why != std::errc() || !(amount >= 0)) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  const double ns = unit == "ms"  ? 1e6
                    : unit == "s" ? 1e9
                    : unit == "m" ? 60e9
                    : unit == "h" ? 3600e9
                    : unit == "d" ? 86400e9
                                  : 0;
  if (ns == 0 || amount * ns > 9e18) return std::nullopt;
  return nanoseconds(static_cast<std::int64_t>(amount * ns));
}

[[noreturn]] void refuse(const std::string& text, const std::string& why = {}) {
  throw std::invalid_argument(
      fmt::format("--from {}{}: give {}", text, why.empty() ? "" : " (" + why + ")", starts_allowed));
}

std::uint64_t number_of(const std::string& text, std::string_view digits) {
  std::uint64_t value = 0;
  const auto [end, why] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (why != std::errc() || end != digits.data() + digits.size()) refuse(text, "no number");
  return value;
}

}  // namespace

quoit::publishing_time time_of(const std::string& text, quoit::publishing_time now) {
  if (text.starts_with('-')) {
    if (const auto before = duration(std::string_view(text).substr(1))) {
      // Before 1970 nothing was published.
      return *before < now.time_since_epoch() ? now - *before : quoit::publishing_time{};
    }
  } else if (const auto time = absolute(text)) {
    return *time;
  }
  throw std::invalid_argument("no time");
}

quoit::start start_of(const std::string& text, quoit::publishing_time now, quoit::cursor& where) {
  if (text == "earliest") return quoit::start::earliest;
  if (text == "latest") return quoit::start::latest;
  const std::size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::string rest = colon == std::string::npos ? std::string() : text.substr(colon + 1);
  if (kind == "last") return quoit::start::last(number_of(text, rest));
  if (kind == "sequence") return quoit::start::sequence(number_of(text, rest));
  if (kind == "time") {
    try {
      return quoit::start::time(time_of(rest, now));
    } catch (const std::invalid_argument& e) {
      refuse(text, e.what());
    }
  }
  if (kind == "cursor") {
    auto parsed = quoit::cursor::parse(rest);
    if (!parsed) refuse(text, std::string(parsed.error().words()));
    where = std::move(*parsed);
    return quoit::start::at(where);
  }
  refuse(text);
}

}  // namespace cli
