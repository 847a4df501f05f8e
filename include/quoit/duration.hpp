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
  __extension__ typedef __int128 wide;

 public:
  constexpr duration() noexcept = default;
  // All of it in here: Clang does not find a function template that this would call, in a constant expression behind a
  // precompiled header.
  template <class Rep, class Period>
  constexpr duration(std::chrono::duration<Rep, Period> d) noexcept {
    constexpr std::int64_t most = (std::numeric_limits<std::int64_t>::max)();
    constexpr long double ns_each = 1e9L * Period::num / Period::den;
    // 2^63, which no rounding of the product moves to the other side.
    constexpr long double limit = 9223372036854775808.0L;
    const long double about = static_cast<long double>(d.count()) * ns_each;
    if (about >= limit) {
      ns_ = most;
    } else if (about <= -limit) {
      ns_ = -most;
    } else if constexpr (std::is_integral_v<Rep>) {
      const wide ns_by_den = static_cast<wide>(d.count()) * Period::num * 1'000'000'000;
      const wide whole = ns_by_den / Period::den;
      ns_ = static_cast<std::int64_t>(whole * Period::den < ns_by_den ? whole + 1 : whole);
    } else if (about <= 0 || about > 0) {  // a number
      const auto whole = static_cast<std::int64_t>(about);
      ns_ = static_cast<long double>(whole) < about && whole < most ? whole + 1 : whole;
    }
  }

  constexpr operator std::chrono::nanoseconds() const noexcept { return std::chrono::nanoseconds(ns_); }
  // In nanoseconds.
  constexpr std::int64_t count() const noexcept { return ns_; }
  // Without an end.
  static constexpr duration(max)() noexcept { return (std::chrono::nanoseconds::max)(); }

  friend constexpr auto operator<=>(duration, duration) noexcept = default;
  friend constexpr bool operator==(duration, duration) noexcept = default;

 private:
  std::int64_t ns_ = 0;
};

}  // namespace quoit::inline v1
