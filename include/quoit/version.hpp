// The version of the headers (QUOIT_VERSION) and of the library that was linked (quoit::library_version()).
#pragma once

#include "quoit/detail/config.hpp"
