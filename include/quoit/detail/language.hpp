// What a translation unit that includes quoit has to be compiled with: one sentence where it is not.
//
// Behind an #error, compilers go on through the header and find hundreds of errors more. They stop at once where a
// file to include is missing, so that is what follows.
#pragma once

#if !defined(__linux__)
#error "quoit works on Linux only"
#include "stopped by the error above"
#elif __cplusplus < 202002L
#error "quoit needs C++20: compile with -std=c++20 or a later standard"
#include "stopped by the error above"
#elif !defined(__cpp_impl_coroutine)
#error "quoit needs coroutines: this compiler has none, or was told to leave them out"
#include "stopped by the error above"
#elif !defined(__cpp_exceptions)
#error "quoit needs exceptions, which a task hands on to the task that awaits it: compile without -fno-exceptions"
#include "stopped by the error above"
#endif
