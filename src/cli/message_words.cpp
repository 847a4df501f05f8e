#include "message_words.hpp"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <utility>

namespace cli {

namespace {

struct scalar_size {
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array<scalar_size, 12> scalars{{{"u8", 1},
                                               {"i8", 1},
                                               {"u16", 2},
                                               {"i16", 2},
                                               {"u32", 4},
                                               {"i32", 4},
                                               {"u64", 8},
                                               {"i64", 8},
                                               {"f32", 4},
                                               {"f64", 8},
                                               {"bool", 1},
                                               {"char", 1}}};

// A number at the front of the text, which it is taken off.
bool take_number(std::string_view& text, std::size_t& out) {
  const auto [end, why] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (why != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool parse_field(std::string_view text, message_field& out) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  out.name = text.substr(0, colon);
  text.remove_prefix(colon + 1);
  if (text.starts_with("bytes")) {
    out.scalar = "bytes";
    text.remove_prefix(5);
    if (!take_number(text, out.bytes)) return false;
  } else {
    const std::string_view name = text.substr(0, text.find_first_of("[@"));
    const auto known = std::find_if(scalars.begin(), scalars.end(), [&](const auto& s) { return s.name == name; });
    if (known == scalars.end()) return false;
    out.scalar = name;
    out.bytes = known->bytes;
    text.remove_prefix(name.size());
  }
  if (text.starts_with('[')) {
    text.remove_prefix(1);
    if (!take_number(text, out.count) || !text.starts_with(']')) return false;
    text.remove_prefix(1);
  }
  if (!text.starts_with('@')) return false;
  text.remove_prefix(1);
  return take_number(text, out.offset) && text.empty();
}

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// Calls `use` with the element's value, in the type that it has.
template <class Use>
void with_element(const message_field& f, const std::byte* at, Use&& use) {
  const std::string_view s = f.scalar;
  if (s == "u8") return use(unsigned{load<std::uint8_t>(at)});
  if (s == "i8") return use(int{load<std::int8_t>(at)});
  if (s == "u16") return use(load<std::uint16_t>(at));
  if (s == "i16") return use(load<std::int16_t>(at));
  if (s == "u32") return use(load<std::uint32_t>(at));
  if (s == "i32") return use(load<std::int32_t>(at));
  if (s == "u64") return use(load<std::uint64_t>(at));
  if (s == "i64") return use(load<std::int64_t>(at));
  if (s == "f32") return use(load<float>(at));
  if (s == "f64") return use(load<double>(at));
  if (s == "bool") return use(load<std::uint8_t>(at) != 0);
  if (s == "char") return use(std::string(1, load<char>(at)));
  use(hex({at, f.bytes}));
}

bool is_text(const message_field& f) { return f.scalar == "char" && f.count > 1; }

std::string text_of(const message_field& f, std::span<const std::byte> bytes) {
  const char* const begin = reinterpret_cast<const char*>(bytes.data()) + f.offset;
  return std::string(begin, ::strnlen(begin, f.count));
}

std::string shown(const std::string& value) { return printable(value); }
template <class T>
std::string shown(const T& value) {
  return fmt::format("{}", value);
}

}  // namespace

std::vector<message_field> parse_fields(std::string_view description, std::size_t type_bytes) {
  std::vector<message_field> fields;
  while (!description.empty()) {
    const std::string_view word = description.substr(0, description.find(' '));
    description.remove_prefix(std::min(word.size() + 1, description.size()));
    message_field f;
    if (!parse_field(word, f)) return {};
    if (f.bytes == 0 || f.count == 0 || f.offset > type_bytes || f.count > (type_bytes - f.offset) / f.bytes) return {};
    fields.push_back(std::move(f));
  }
  return fields;
}

std::string words_of(const std::vector<message_field>& fields, std::span<const std::byte> bytes) {
  std::string words;
  for (const message_field& f : fields) {
    if (!words.empty()) words += ' ';
    words += printable(f.name) + '=';
    if (is_text(f)) {
      words += printable(text_of(f, bytes));
      continue;
    }
    if (f.count != 1) words += '[';
    for (std::size_t i = 0; i < f.count; ++i) {
      if (i != 0) words += ' ';
      with_element(f, bytes.data() + f.offset + i * f.bytes, [&](const auto& value) { words += shown(value); });
    }
    if (f.count != 1) words += ']';
  }
  return words;
}

nlohmann::ordered_json json_of(const std::vector<message_field>& fields, std::span<const std::byte> bytes) {
  nlohmann::ordered_json out = nlohmann::ordered_json::object();
  for (const message_field& f : fields) {
    if (is_text(f)) {
      out[f.name] = text_of(f, bytes);
      continue;
    }
    nlohmann::ordered_json values = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < f.count; ++i) {
      with_element(f, bytes.data() + f.offset + i * f.bytes, [&](const auto& value) { values.push_back(value); });
    }
    out[f.name] = f.count == 1 ? std::move(values[0]) : std::move(values);
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\\') {
      out += "\\\\";
    } else if (byte < ' ' || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;  // with what is UTF-8
    }
  }
  return out;
}

std::string hex_dump(std::span<const std::byte> bytes) {
  std::string out;
  for (std::size_t begin = 0; begin < bytes.size(); begin += 16) {
    const auto line = bytes.subspan(begin, std::min<std::size_t>(16, bytes.size() - begin));
    out += fmt::format("{:08x}:", begin);
    std::string letters;
    for (std::size_t i = 0; i < 16; ++i) {
      if (i % 2 == 0) out += ' ';
      if (i >= line.size()) {
        out += "  ";
        continue;
      }
      const auto byte = static_cast<unsigned>(line[i]);
      out += fmt::format("{:02x}", byte);
      letters += byte >= ' ' && byte < 0x7f ? static_cast<char>(byte) : '.';
    }
    out += "  " + letters + '\n';
  }
  return out;
}

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  for (const std::byte b : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(b));
  return out;
}

}  // namespace cli
