// One side of a comparison: all of its ways, each opened by the first order that names it.
#pragma once

#include <memory>

#include "carriers.hpp"
#include "channels.hpp"
#include "way.hpp"

namespace bench {

// What a side's last order of each way copied by itself.
struct copied_by_way {
  copies of[ways.size()];
};

// Of both sides, in memory that they share: the asking one first.
struct shared_talk {
  copied_by_way copied[2];
  std::uint64_t over[2];  // counted orders that each has been through
};

// Its run() does the turns of order.way; order.counted says that a tracer should count meanwhile (trace.hpp).
std::unique_ptr<side> make_talk(job what_for, const channels& through, bool asks, shared_talk& shared);

}  // namespace bench
