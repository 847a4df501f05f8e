#pragma once

#include <tl/expected.hpp>

#include "quoit/error.hpp"

namespace quoit::inline v1 {

// A value, or why there is none. `.value()` throws tl::bad_expected_access if there is none; nothing else in
// quoit throws. A result<void> is asked with `if (!done)`: tl::expected 1.0 has no value() for it.
template <class T>
using result = tl::expected<T, error>;

}  // namespace quoit::inline v1
