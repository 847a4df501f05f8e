#pragma once

#include "quoit/detail/language.hpp"

// Everything is hidden in the shared library but what carries QUOIT_EXPORT: a class or a function that inline code of
// the public headers calls.
#define QUOIT_EXPORT __attribute__((visibility("default")))
