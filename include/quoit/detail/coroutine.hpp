// <coroutine>, behind the check that the compiler has coroutines: GCC's header refuses in words of its own.
#pragma once

#include "quoit/detail/language.hpp"

// Last, as <coroutine> comes after the check.
#include <coroutine>
