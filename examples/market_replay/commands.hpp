#pragma once

#include "../common/arguments.hpp"

// Each answers an exit status.
int record(const arguments& args, const std::string& directory);
int replay(const arguments& args, const std::string& directory);
