// How a subscription comes by the lanes of publishers in memory.
#pragma once

#include <chrono>
#include <memory>

#include "quoit/detail/topic_layout.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

struct lane_link;
struct subscriber_parts;

// From when a process that dies is not found in /proc any more until the lock that says it lives is free.
inline constexpr std::chrono::milliseconds dying_takes{200};

// A lane of sealed memory whose publisher is not found in /proc: it is dying, or cannot be seen from here.
bool is_out_of_reach(const error& e) noexcept;

// True if a lane could not be opened because its publisher died, and took with it what it alone had (sealed memory).
// It may be found dying: then it is waited for.
bool died_with_its_lane(const subscriber_parts& parts, u32 index, const error& why);

// A lane that was there before the subscription. With the topic's lock held. Errors: policy_conflict, and as
// open_lane().
result<std::unique_ptr<lane_link>> join_lane(const subscriber_parts& parts, u32 index);

// A lane that is younger than the subscription: its maker set our slot. Nothing if it did not, because the lane was
// closed when we came, or we have left it; nor if it was removed meanwhile. Errors: as open_lane().
result<std::unique_ptr<lane_link>> follow_lane(subscriber_parts& parts, u32 index);

}  // namespace quoit::inline v1::detail
