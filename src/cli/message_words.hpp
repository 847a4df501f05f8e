// A message as text, by what its topic says of its type.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

struct message_field {
  std::string name;
  std::string scalar;  // "u32", "f64", "char", "bool", ..., "bytes"
  std::size_t offset = 0;
  std::size_t bytes = 0;  // of one element
  std::size_t count = 1;
};

// What a topic's description says ("bid:f64@0 ask:f64@8 name:char[16]@16"). Empty if it is none, or if a field does
// not lie within a message of `type_bytes`: it was read from a file.
std::vector<message_field> parse_fields(std::string_view description, std::size_t type_bytes);

// "bid=99.5 ask=99.7 name=QUOIT": arrays of char as text up to the first 0, other arrays in brackets.
// Requires: bytes.size() is at least type_bytes of parse_fields().
std::string words_of(const std::vector<message_field>& fields, std::span<const std::byte> bytes);
nlohmann::ordered_json json_of(const std::vector<message_field>& fields, std::span<const std::byte> bytes);

// On one line, with \n, \\ and \x1b for what a terminal would take for something else.
std::string printable(std::string_view text);

// As xxd shows them: sixteen bytes a line, each line ending with a line break.
std::string hex_dump(std::span<const std::byte> bytes);
// Two digits a byte.
std::string hex(std::span<const std::byte> bytes);

}  // namespace cli
