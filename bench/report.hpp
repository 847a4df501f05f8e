// A measured row in words: a line of a table, or a JSON object.
#pragma once

#include <string>

#include "row.hpp"

namespace bench {

std::string table_head();
std::string table_line(const measured& row);
// One line, without its end. The names are the interface of `quoit bench --json`: they may be added to.
std::string json_line(const measured& row);

}  // namespace bench
