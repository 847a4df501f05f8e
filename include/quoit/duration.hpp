#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "quoit/detail/language.hpp"

namespace quoit::inline v1 {

// How long something takes, at most or at least: made of any std::chrono::duration, by itself. One that is too long for
// nanoseconds in 64 bits (292 years), as std::chrono::hours::max() is, becomes the longest there is; a conversion to
// std::chrono::nanoseconds would become negative. Parts of a nanosecond count as a whole one; not a number counts as 0.
class duration {
 public:
  constexpr duration() noexcept = default;
  template <class Rep, class Period>
  constexpr duration(std::chrono::duration<Rep, Period> d) noexcept : ns_(saturated(d)) {}

  constexpr operator std::chrono::nanoseconds() const noexcept { return std::chrono::nanoseconds(ns_); }
  // In nanoseconds.
  constexpr std::int64_t count() const noexcept { return ns_; }
  // Without an end.
  static constexpr duration(max)() noexcept { return (std::chrono::nanoseconds::max)(); }

  friend constexpr auto operator<=>(duration, duration) noexcept = default;
  friend constexpr bool operator==(duration, duration) noexcept = default;

 private:
  __extension__ typedef __int128 wide;

  template <class Rep, class Period>
  static constexpr std::int64_t saturated(std::chrono::duration<Rep, Period> d) noexcept {
    constexpr std::int64_t most = (std::numeric_limits<std::int64_t>::max)();
    constexpr long double ns_each = 1e9L * Period::num / Period::den;
    // 2^63, which no rounding of the product moves to the other side.
    constexpr long double limit = 9223372036854775808.0L;
    const long double about = static_cast<long double>(d.count()) * ns_each;
    if (about >= limit) return most;
    if (about <= -limit) return -most;
    if constexpr (std::is_integral_v<Rep>) {
      const wide ns_by_den = static_cast<wide>(d.count()) * Period::num * 1'000'000'000;
      const wide whole = ns_by_den / Period::den;
      return static_cast<std::int64_t>(whole * Period::den < ns_by_den ? whole + 1 : whole);
    } else {
      if (!(about <= 0) && !(about > 0)) return 0;  // not a number
      const auto whole = static_cast<std::int64_t>(about);
      return static_cast<long double>(whole) < about && whole < most ? whole + 1 : whole;
    }
  }

  std::int64_t ns_ = 0;
};

}  // namespace quoit::inline v1
