#pragma once

#include <vector>

namespace bench::html {

// A logarithmic axis. Where nothing, or nothing positive, is to be drawn, it goes from 1 to 10.
class log_scale {
 public:
  // From `begin` to `end` in the drawing's units, for all values that are given. To whole powers of ten, or so that the
  // smallest and the largest lie at the ends.
  enum class ends { decades, values };
  log_scale(const std::vector<double>& values, double begin, double end, ends where);

  double at(double value) const;
  double low() const { return low_; }
  double high() const { return high_; }
  // The powers of ten on it, with 2 and 5 times those where it has fewer than two decades. Ascending.
  std::vector<double> ticks() const;

 private:
  double low_ = 1;
  double high_ = 10;
  double begin_;
  double end_;
};

}  // namespace bench::html
