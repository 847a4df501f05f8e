// How often each time was seen. Log-linear: 128 buckets for each power of two, so that a value is off by less than
// 1 %, whatever its size; values below 256 are exact.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace floors {

class histogram {
 public:
  void record(std::uint64_t value) {
    ++counts_[index(value)];
    ++total_;
    max_ = std::max(max_, value);
  }
  void add(const histogram& other) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    total_ += other.total_;
    max_ = std::max(max_, other.max_);
  }

  std::uint64_t total() const { return total_; }
  std::uint64_t max() const { return max_; }

  // The smallest value such that a share `share` (0 to 1) of all is not above it. 0 if nothing was recorded.
  std::uint64_t at(double share) const {
    const double wanted = share * static_cast<double>(total_);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      seen += counts_[i];
      if (counts_[i] != 0 && static_cast<double>(seen) >= wanted) return std::min(middle(i), max_);
    }
    return max_;
  }

  // The median, each value taken to be spread evenly over one step of the clock that measured it. Where a clock
  // counts in steps of ten nanoseconds, 96 is seen as a mixture of 90 and 100: at(0.5) would be one of them.
  double median(double step) const {
    double low = 0, high = static_cast<double>(max_) + step;
    for (int i = 0; i < 60 && high - low > 0.01; ++i) {
      const double x = (low + high) / 2;
      (below(x, step) < 0.5 * static_cast<double>(total_) ? low : high) = x;
    }
    return total_ == 0 ? 0 : (low + high) / 2;
  }

 private:
  static constexpr std::size_t buckets = 128;

  static std::size_t index(std::uint64_t value) {
    if (value < buckets) return static_cast<std::size_t>(value);
    // Leaves eight bits, of which the first is 1.
    const unsigned shift = 56 - static_cast<unsigned>(__builtin_clzll(value));
    return buckets * (shift + 1) + static_cast<std::size_t>((value >> shift) & (buckets - 1));
  }
  static std::uint64_t middle(std::size_t i) {
    if (i < buckets) return i;
    const std::size_t shift = i / buckets - 1;
    return ((buckets + i % buckets) << shift) + ((std::uint64_t{1} << shift) >> 1);
  }
  double below(double x, double step) const {
    double sum = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] == 0) continue;
      const double begin = static_cast<double>(middle(i)) - step / 2;
      if (begin >= x) break;
      sum += static_cast<double>(counts_[i]) * (step > 0 ? std::min((x - begin) / step, 1.0) : 1.0);
    }
    return sum;
  }

  std::vector<std::uint64_t> counts_ = std::vector<std::uint64_t>(58 * buckets);
  std::uint64_t total_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace floors
