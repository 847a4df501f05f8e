#pragma once

#include <cerrno>
#include <new>

#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// Calls it. If there is no memory for what it allocates, the answer is an error: system, ENOMEM.
template <class Function>
auto or_no_memory(Function&& function) -> decltype(function()) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return tl::unexpected(error(errc::system, 0, ENOMEM));
  }
}

}  // namespace quoit::inline v1::detail
