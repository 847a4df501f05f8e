#include "base/type_difference.hpp"

#include <algorithm>
#include <vector>

namespace quoit::inline v1::detail {

namespace {

// As many differences are named one by one.
constexpr std::size_t differences_max = 16;

// `name:scalar[count]@offset`, in two parts.
struct described_field {
  std::string_view name;
  std::string_view scalar;  // with its count
  std::string_view offset;
};

std::string shown(std::string_view text) {
  std::string printable(text);
  std::replace_if(printable.begin(), printable.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return printable;
}

std::vector<described_field> fields_in(std::string_view text) {
  std::vector<described_field> fields;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    if (word.empty()) continue;
    const std::size_t colon = std::min(word.find(':'), word.size());
    const std::string_view rest = word.substr(std::min(colon + 1, word.size()));
    const std::size_t at = std::min(rest.rfind('@'), rest.size());
    fields.push_back({word.substr(0, colon), rest.substr(0, at), rest.substr(std::min(at + 1, rest.size()))});
  }
  return fields;
}

std::string described(const described_field& f) { return shown(f.scalar) + " at byte " + shown(f.offset); }

std::string size_of(std::uint32_t bytes) { return bytes == 0 ? "variable" : std::to_string(bytes); }

const described_field* find(const std::vector<described_field>& fields, std::string_view name) {
  const auto at = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == name; });
  return at != fields.end() ? &*at : nullptr;
}

// The same place and scalar under a name that the other side does not have.
const described_field* find_renamed(const std::vector<described_field>& fields,
                                    const std::vector<described_field>& others, const described_field& f) {
  const auto at = std::find_if(fields.begin(), fields.end(), [&](const auto& one) {
    return one.scalar == f.scalar && one.offset == f.offset && find(others, one.name) == nullptr;
  });
  return at != fields.end() ? &*at : nullptr;
}

void compare_fields(std::string_view there_text, std::string_view asked_text, std::vector<std::string>& differences) {
  const auto there = fields_in(there_text), asked = fields_in(asked_text);
  const std::size_t before = differences.size();
  for (const described_field& f : there) {
    if (const described_field* const same = find(asked, f.name)) {
      if (same->scalar == f.scalar && same->offset == f.offset) continue;
      differences.push_back("field " + shown(f.name) + " is " + described(f) + ", asked for as " + described(*same));
    } else if (const described_field* const renamed = find_renamed(asked, there, f)) {
      differences.push_back("field " + shown(f.name) + " (" + described(f) + ") is asked for as " +
                            shown(renamed->name));
    } else {
      differences.push_back("field " + shown(f.name) + " (" + described(f) + ") is not asked for");
    }
  }
  for (const described_field& f : asked) {
    if (find(there, f.name) != nullptr || find_renamed(there, asked, f) != nullptr) continue;
    differences.push_back("field " + shown(f.name) + " (" + described(f) + ") is asked for, and not there");
  }
  if (differences.size() == before) differences.push_back("the fields are described in another order");
}

}  // namespace

std::string type_difference(const described_type& there, const described_type& asked) {
  std::vector<std::string> differences;
  if (there.name != asked.name) {
    const auto named = [](std::string_view name) { return name.empty() ? "without a name" : "named " + shown(name); };
    differences.push_back("the type is " + named(there.name) + ", asked for " + named(asked.name));
  }
  if (there.bytes != asked.bytes) {
    differences.push_back("size " + size_of(there.bytes) + ", asked for " + size_of(asked.bytes));
  }
  if (there.alignment != asked.alignment) {
    differences.push_back("alignment " + std::to_string(there.alignment) + ", asked for " +
                          std::to_string(asked.alignment));
  }
  if (there.fields.empty() != asked.fields.empty()) {
    const std::string_view described_as = there.fields.empty() ? asked.fields : there.fields;
    differences.push_back("the fields are described (QUOIT_FIELDS) " +
                          std::string(there.fields.empty() ? "by who asks only: " : "there only: ") +
                          shown(described_as));
  } else if (there.fields != asked.fields) {
    compare_fields(there.fields, asked.fields, differences);
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(differences.size(), differences_max); ++i) {
    if (!text.empty()) text += "; ";
    text += differences[i];
  }
  if (differences.size() > differences_max) {
    text += "; and " + std::to_string(differences.size() - differences_max) + " more";
  }
  return text;
}

}  // namespace quoit::inline v1::detail
