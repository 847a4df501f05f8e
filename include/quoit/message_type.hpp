// How a type of messages is described where a topic is opened: what has to agree on all sides.
#pragma once

#include <string>
#include <string_view>

#include "quoit/detail/publisher_core.hpp"
#include "quoit/message.hpp"

namespace quoit::inline v1::detail {

template <class T>
std::string fields_of() {
  if constexpr (!variable_size<T> && described<T>) {
    constexpr auto description = description_of<T>();
    return fields_text(description.fields.data(), description.fields.size());
  } else {
    return {};
  }
}

// `fields`: fields_of<T>(), which has to live as long.
template <class T>
message_type described_as(std::string_view fields) noexcept {
  if constexpr (variable_size<T>) {
    return {message_name<T>(), fields, 0, 1};
  } else {
    return {message_name<T>(), fields, sizeof(T), alignof(T)};
  }
}

}  // namespace quoit::inline v1::detail
