#pragma once

#include "topic/node.hpp"

namespace quoit::inline v1::detail {

// Removes a dead node from every topic of the bus. False if some topic could not be locked in time: then the
// node's entry stays, and somebody else tries again.
bool clean_topics_after(node& self, node_id dead, std::chrono::nanoseconds lock_timeout);

}  // namespace quoit::inline v1::detail
