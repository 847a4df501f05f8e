#pragma once

#include <chrono>

namespace quoit::inline v1::detail {

// A call that an executor makes does not wait: it looks, and looks again after a pause in which other tasks run.
inline constexpr std::chrono::nanoseconds without_waiting{0};
inline constexpr std::chrono::milliseconds between_attempts{1};
// Of opening a topic on disk that is moved again and again meanwhile.
inline constexpr int open_attempts_max = 100;

}  // namespace quoit::inline v1::detail
