// The grammar of names, and the files that belong to them.
//
// A bus: 1 to 32 of [A-Za-z0-9_-]. A topic: 1 to 160 of [A-Za-z0-9_.~/-], no empty component, an optional
// leading '/' that means nothing. Files: quoit.<bus>, quoit.<bus>.<topic> with '/' stored as '+', lanes with
// '@<generation>' behind that. '+' and '@' are in no name: two names never share a file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// Errors: invalid_name.
result<void> check_bus_name(std::string_view name);
// Without the leading '/'. Errors: invalid_name.
result<std::string> checked_topic_name(std::string_view name);

std::string bus_file(std::string_view bus);
std::string bus_temporary_prefix(std::string_view bus);
std::string bell_file_prefix(std::string_view bus);
// The pipe of a node, or one of those of its endpoints.
std::string bell_file(std::string_view bus, std::uint32_t node, std::uint64_t generation, std::uint32_t pipe = 0);
std::string topic_file(std::string_view bus, std::string_view topic);
std::string topic_file_prefix(std::string_view bus);  // of all topics, and of their lanes
std::string lane_data_file(std::string_view topic_file, std::uint64_t generation);
std::string storage_record_file(std::string_view topic_file, std::uint64_t generation);
std::string lane_slots_file_name(std::string_view topic_file, std::uint64_t generation);

// The topic of a topic's file; empty for a file of another kind.
std::string topic_of_file(std::string_view bus, std::string_view file);

}  // namespace quoit::inline v1::detail
