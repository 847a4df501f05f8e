// An option that the environment may choose where the program does not.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>

#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

template <class Enum>
struct choice_word {
  std::string_view word;
  Enum value;
};

// What `option` says, called `name`; if that is unspecified, what the environment variable says; if that is not there
// or empty, `otherwise`. Errors: invalid_argument.
template <class Enum, std::size_t Count>
result<Enum> choice_of(Enum option, const char* name, const char* variable, Enum otherwise,
                       const choice_word<Enum> (&words)[Count]) {
  const auto refuse = [](const std::string& why) { return tl::unexpected(error(errc::invalid_argument, why)); };
  if (option != Enum::unspecified) {
    for (const auto& [word, value] : words) {
      if (value == option) return option;
    }
    return refuse(std::string(name) + " is none of its values");
  }
  const char* const text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return otherwise;
  std::string list;
  for (std::size_t i = 0; i < Count; ++i) {
    if (words[i].word == text) return words[i].value;
    if (i != 0) list += i + 1 == Count ? " or " : ", ";
    list += words[i].word;
  }
  return refuse("the environment variable " + std::string(variable) + " is \"" +
                std::string(std::string_view(text).substr(0, 80)) + "\": it must be " + list);
}

}  // namespace quoit::inline v1::detail
