#include "base/call_counts.hpp"

namespace quoit::inline v1::detail {

constinit call_counts calls_made;

}  // namespace quoit::inline v1::detail
