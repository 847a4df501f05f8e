#pragma once

#include <string>
#include <string_view>

namespace bench::html {

// As text between tags, and as a value in double quotes.
std::string escaped(std::string_view text);

}  // namespace bench::html
