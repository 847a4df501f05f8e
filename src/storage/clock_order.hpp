// What makes the stamps of several lanes comparable, where CLOCK_REALTIME was set while they were written.
//
// Messages of one boot are compared by its CLOCK_BOOTTIME, which nobody sets: stamp minus offset. Boots are compared
// with each other by CLOCK_REALTIME, so the times of a boot are shown on one of its clocks, its reference: the last one
// of the lane that was added first. A boot whose reference is ahead of the next boot's is moved back as a whole, to
// where the next one begins in each lane that has both.
#pragma once

#include <vector>

#include "storage/lane_clock.hpp"

namespace quoit::inline v1::detail {

class clock_order {
 public:
  // Reads the clocks of a lane that is going to be merged with others. settle() comes before its times are compared.
  void add(const directory_handle& lane);
  // Moves the boots that were added since the last call. The times of those before it stay as they are.
  void settle();

  // What is to be added to the stamps of a clock: the sums are what is compared.
  std::int64_t shift_of(const lane_clock& clock);
  // The time as it would be compared, of a message that is stamped now by a process of this boot.
  std::int64_t now() const noexcept;

 private:
  struct boot {
    u64 domain = 0;
    bool known = false;  // it has a reference
    bool settled = false;
    std::int64_t reference = 0;
    std::int64_t moved = 0;             // back
    std::vector<std::int64_t> offsets;  // of its clocks
  };
  // Where a lane goes from one boot to the next: the last time in the first, and when the other begins.
  struct change {
    std::size_t from;
    std::size_t to;
    std::int64_t end;
    std::int64_t begin;
  };

  std::size_t boot_of(const lane_clock& clock);
  // On the reference of its boot.
  std::int64_t to_reference(const lane_clock& clock);

  const u64 own_domain_ = clock_domain_of(own_clock_zone());
  std::vector<boot> boots_;
  std::vector<change> changes_;
};

}  // namespace quoit::inline v1::detail
