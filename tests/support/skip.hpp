#pragma once

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

// Ends this test case as skipped, with a reason that tools/test prints. (doctest itself can skip a case only before it
// starts: the line is what tools/count-tests counts.)
#define QUOIT_SKIP(reason)             \
  do {                                 \
    std::printf("SKIP: %s\n", reason); \
    std::fflush(stdout);               \
    return;                            \
  } while (false)

namespace quoit::test {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool under_tsan = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool under_tsan = true;
#else
inline constexpr bool under_tsan = false;
#endif
#else
inline constexpr bool under_tsan = false;
#endif

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool under_asan = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr bool under_asan = true;
#else
inline constexpr bool under_asan = false;
#endif
#else
inline constexpr bool under_asan = false;
#endif

// tools/test --fast: repeat less often where a test repeats.
inline bool fast() { return std::getenv("QUOIT_TEST_FAST") != nullptr; }

}  // namespace quoit::test
