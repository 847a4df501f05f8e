#include "scale.hpp"

#include <algorithm>
#include <cmath>

namespace bench::html {

namespace {

// Ten to the power of n is computed, and may be off in its last bit.
constexpr double close = 1e-9;

}  // namespace

log_scale::log_scale(const std::vector<double>& values, double begin, double end, ends where)
    : begin_(begin), end_(end) {
  double low = 0, high = 0;
  for (const double v : values) {
    if (!(v > 0) || !std::isfinite(v)) continue;
    low = low == 0 ? v : std::min(low, v);
    high = std::max(high, v);
  }
  if (low == 0) return;
  if (where == ends::decades) {
    low = std::pow(10, std::floor(std::log10(low) + close));
    high = std::pow(10, std::ceil(std::log10(high) - close));
  }
  // One value has some room on both sides.
  if (high < low * 1.001) {
    low /= where == ends::decades ? 1 : 2;
    high = low * (where == ends::decades ? 10 : 4);
  }
  low_ = low;
  high_ = high;
}

double log_scale::at(double value) const {
  const double share = std::log(value / low_) / std::log(high_ / low_);
  return begin_ + std::clamp(share, 0.0, 1.0) * (end_ - begin_);
}

std::vector<double> log_scale::ticks() const {
  const bool between = high_ / low_ < 100 * (1 - close);
  std::vector<double> all;
  const auto first = static_cast<int>(std::floor(std::log10(low_) + close));
  for (int power = first; std::pow(10, power) <= high_ * (1 + close); ++power) {
    for (const double times : {1.0, 2.0, 5.0}) {
      const double tick = times * std::pow(10, power);
      const bool on_it = tick >= low_ * (1 - close) && tick <= high_ * (1 + close);
      if (on_it && (times == 1 || between)) all.push_back(tick);
    }
  }
  return all;
}

}  // namespace bench::html
