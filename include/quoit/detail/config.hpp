#pragma once

// The version of the API: of the headers that a user compiles against. The layout of shared memory and the format
// of files have versions of their own, beside their definitions.
#define QUOIT_VERSION_MAJOR 0
#define QUOIT_VERSION_MINOR 1
#define QUOIT_VERSION_PATCH 0
#define QUOIT_VERSION_STRING "0.1.0"

// One number to compare with: 0.1.0 is 100, 1.2.3 is 10203.
#define QUOIT_VERSION (QUOIT_VERSION_MAJOR * 10000 + QUOIT_VERSION_MINOR * 100 + QUOIT_VERSION_PATCH)

#include <quoit/detail/export.hpp>

namespace quoit {

// Fast paths are compiled into users, so a change of what they touch must change every symbol's name: the namespace
// changes together with the SOVERSION of the library, and never otherwise.
inline namespace v1 {

// Version of the library that was linked (QUOIT_VERSION is that of the headers).
QUOIT_EXPORT int library_version() noexcept;

}  // namespace v1
}  // namespace quoit
