// Memory for coroutine frames: freed ones are kept for the next coroutine of about their size.
#pragma once

#include <cstddef>

#include "quoit/detail/export.hpp"

namespace quoit::inline v1::detail {

// Of this thread's pool; throws std::bad_alloc. A frame may be freed on another thread, whose pool then has it.
// Aligned as operator new aligns: a coroutine holds no local that asks for more.
QUOIT_EXPORT void* allocate_frame(std::size_t bytes);
QUOIT_EXPORT void free_frame(void* frame, std::size_t bytes) noexcept;

}  // namespace quoit::inline v1::detail
