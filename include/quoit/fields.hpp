// A description of a struct's fields, so that topics describe themselves:
//
//   struct quote { double bid, ask; std::uint32_t size; };
//   QUOIT_FIELDS(quote, bid, ask, size)      // in the namespace of the struct, up to 64 fields
//
// It is part of the type check when a topic is opened, and gives the type a name that every compiler agrees on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "quoit/detail/export.hpp"

namespace quoit::inline v1 {

struct field {
  std::string_view name;
  std::string_view scalar;  // "u32", "f64", ... or "bytes"
  std::size_t offset;       // bytes
  std::size_t bytes;        // of one element
  std::size_t count;        // 1, or of the array's elements
};

template <std::size_t Count>
struct description {
  std::string_view name;
  std::array<field, Count> fields;
};

namespace detail {

template <class T>
constexpr std::string_view scalar_name() noexcept {
  if constexpr (std::is_enum_v<T>) {
    return scalar_name<std::underlying_type_t<T>>();
  } else if constexpr (std::is_same_v<T, bool>) {
    return "bool";
  } else if constexpr (std::is_same_v<T, char>) {
    return "char";
  } else if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? "f32" : sizeof(T) == 8 ? "f64" : "bytes";
  } else if constexpr (std::is_integral_v<T>) {
    constexpr std::string_view names[] = {"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"};
    constexpr std::size_t size = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;
    return names[2 * size + (std::is_signed_v<T> ? 1 : 0)];
  } else {
    return "bytes";
  }
}

template <class T>
struct element {
  using type = std::remove_all_extents_t<T>;
};
template <class T, std::size_t Count>
struct element<std::array<T, Count>> {
  using type = typename element<T>::type;
};

template <class Member>
constexpr field make_field(std::string_view name, std::size_t offset) noexcept {
  using one = typename element<std::remove_all_extents_t<Member>>::type;
  return {name, scalar_name<one>(), offset, sizeof(one), sizeof(Member) / sizeof(one)};
}

template <class... Fields>
constexpr description<sizeof...(Fields)> make_description(std::string_view name, Fields... fields) noexcept {
  return {name, {fields...}};
}

template <class T>
concept described = requires { quoit_fields_of(std::type_identity<T>{}); };

template <class T>
constexpr auto description_of() noexcept {
  return quoit_fields_of(std::type_identity<T>{});
}

// "bid:f64@0 ask:f64@8 name:char[16]@16"
QUOIT_EXPORT std::string fields_text(const field* fields, std::size_t count);

}  // namespace detail
}  // namespace quoit::inline v1

#define QUOIT_DETAIL_PARENS ()
#define QUOIT_DETAIL_EXPAND(...) \
  QUOIT_DETAIL_EXPAND3(QUOIT_DETAIL_EXPAND3(QUOIT_DETAIL_EXPAND3(QUOIT_DETAIL_EXPAND3(__VA_ARGS__))))
#define QUOIT_DETAIL_EXPAND3(...) \
  QUOIT_DETAIL_EXPAND2(QUOIT_DETAIL_EXPAND2(QUOIT_DETAIL_EXPAND2(QUOIT_DETAIL_EXPAND2(__VA_ARGS__))))
#define QUOIT_DETAIL_EXPAND2(...) \
  QUOIT_DETAIL_EXPAND1(QUOIT_DETAIL_EXPAND1(QUOIT_DETAIL_EXPAND1(QUOIT_DETAIL_EXPAND1(__VA_ARGS__))))
#define QUOIT_DETAIL_EXPAND1(...) __VA_ARGS__
#define QUOIT_DETAIL_FIELDS(type, one, ...)                                     \
  , ::quoit::detail::make_field<decltype(type::one)>(#one, offsetof(type, one)) \
        __VA_OPT__(QUOIT_DETAIL_FIELDS_AGAIN QUOIT_DETAIL_PARENS(type, __VA_ARGS__))
#define QUOIT_DETAIL_FIELDS_AGAIN() QUOIT_DETAIL_FIELDS

#define QUOIT_FIELDS(type, ...)                                                          \
  [[maybe_unused]] constexpr auto quoit_fields_of(::std::type_identity<type>) noexcept { \
    return ::quoit::detail::make_description(                                            \
        #type __VA_OPT__(QUOIT_DETAIL_EXPAND(QUOIT_DETAIL_FIELDS(type, __VA_ARGS__))));  \
  }
