#include "slices.hpp"

#include <algorithm>

namespace bench {

regime common_regime(const std::vector<slice_state>& slices) {
  const bool any_polls =
      std::any_of(slices.begin(), slices.end(), [](const auto& s) { return s.polls && s.why == doubt::none; });
  regime most = regime::unstable;
  long most_times = 0;
  for (const regime r : {regime::smt, regime::near, regime::far, regime::same_cpu}) {
    const long times = std::count_if(slices.begin(), slices.end(), [&](const auto& s) {
      return s.why == doubt::none && s.where == r && (s.polls || !any_polls);
    });
    if (times <= most_times) continue;
    most = r;
    most_times = times;
  }
  return most;
}

}  // namespace bench
