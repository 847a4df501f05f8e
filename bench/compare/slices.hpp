// A way is measured in slices, in turn with the other ways of its size. Which of them count?
#pragma once

#include <vector>

#include "../regime.hpp"

namespace bench {

struct slice_state {
  doubt why = doubt::none;
  bench::regime where = regime::unstable;
  bool polls = false;
};

// The regime of most slices that nothing is said against; of those that poll, if there are any: who sleeps does not
// notice how far the cores are apart. unstable: there is none.
regime common_regime(const std::vector<slice_state>& slices);

// Whether a slice counts where most are in `common`.
constexpr bool counts(const slice_state& s, regime common) {
  return s.why == doubt::none && (!s.polls || s.where == common);
}

}  // namespace bench
