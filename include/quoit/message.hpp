// What a topic can carry.
//
//   a trivially copyable T   fixed size; loans and samples are a T in shared memory
//   quoit::bytes             variable size; loans and samples are spans of bytes
//   quoit::text              the same as characters
//   any T with a codec       variable size; encoded into a loan, decoded from a sample
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "quoit/fields.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

struct bytes {};
struct text {};

// Specialise this for a type that owns memory or is no plain struct:
//
//   template <> struct quoit::codec<order> {
//     static constexpr std::string_view name = "order.v1";     // what must agree on both sides
//     static std::size_t encoded_bytes(const order&);           // at most this much will be written
//     static std::size_t encode(const order&, std::span<std::byte> out);  // bytes written
//     static quoit::result<order> decode(std::span<const std::byte> in);  // in is input: check it
//   };
template <class T>
struct codec;

template <class T>
concept coded = requires(const T& value, std::span<std::byte> out, std::span<const std::byte> in) {
  { codec<T>::name } -> std::convertible_to<std::string_view>;
  { codec<T>::encoded_bytes(value) } -> std::convertible_to<std::size_t>;
  { codec<T>::encode(value, out) } -> std::convertible_to<std::size_t>;
  { codec<T>::decode(in) } -> std::same_as<result<T>>;
};

template <class T>
concept variable_size = std::same_as<T, bytes> || std::same_as<T, text> || coded<T>;

namespace detail {

template <class T>
constexpr bool usable_message() {
  if constexpr (!variable_size<T>) {
    static_assert(std::is_object_v<T> && !std::is_pointer_v<T> && !std::is_member_pointer_v<T>,
                  "quoit: a message cannot be a pointer or a reference: an address means nothing in another "
                  "process. Publish the value that it points to.");
    static_assert(std::is_trivially_copyable_v<T>,
                  "quoit: this type cannot live in shared memory, because it is not trivially copyable: it owns "
                  "something, such as memory, that the other process cannot reach. Publish a plain struct, or "
                  "quoit::bytes, or quoit::text for a string, or specialise quoit::codec for the type.");
    static_assert(alignof(T) <= 4096, "quoit: messages can be aligned to a page, 4096 bytes, at most.");
    static_assert(sizeof(T) <= (std::size_t{1} << 29), "quoit: messages have at most 512 MiB.");
  }
  return true;
}

// A type, as the compiler spells it. Compilers spell some types differently; a name that is to agree between
// them is given with QUOIT_FIELDS, or as T::quoit_type_name.
template <class T>
constexpr std::string_view spelled() noexcept {
  const std::string_view whole = __PRETTY_FUNCTION__;
  const std::size_t begin = whole.find("T = ") + 4;
  const std::size_t end = whole.find_first_of(";]", begin);
  // An array's extent has brackets of its own.
  const std::size_t last = whole.find(';', begin) == std::string_view::npos ? whole.rfind(']') : end;
  return whole.substr(begin, last - begin);
}

template <class T>
constexpr std::string_view message_name() noexcept {
  if constexpr (std::same_as<T, bytes>) {
    return "bytes";
  } else if constexpr (std::same_as<T, text>) {
    return "text";
  } else if constexpr (coded<T>) {
    return codec<T>::name;
  } else if constexpr (requires { T::quoit_type_name; }) {
    return T::quoit_type_name;
  } else if constexpr (described<T>) {
    return description_of<T>().name;
  } else if constexpr (std::is_arithmetic_v<T>) {
    return scalar_name<T>();
  } else {
    return spelled<T>();
  }
}

// What a sample of T shows.
template <class T>
struct view {
  using type = const T&;
};
template <>
struct view<bytes> {
  using type = std::span<const std::byte>;
};
template <>
struct view<text> {
  using type = std::string_view;
};
template <coded T>
struct view<T> {
  using type = std::span<const std::byte>;
};

template <class T>
typename view<T>::type view_of(const std::byte* payload, std::size_t payload_bytes) noexcept {
  if constexpr (std::same_as<T, text>) {
    return {reinterpret_cast<const char*>(payload), payload_bytes};
  } else if constexpr (variable_size<T>) {
    return {payload, payload_bytes};
  } else {
    // Written as a T by its publisher: topics check the type when they are opened.
    return *static_cast<const T*>(static_cast<const void*>(payload));
  }
}

// A message of a fixed-size topic that has another size was written by no publisher of that topic.
template <class T>
constexpr bool size_fits(std::size_t payload_bytes) noexcept {
  if constexpr (variable_size<T>) {
    return true;
  } else {
    return payload_bytes == sizeof(T);
  }
}

}  // namespace detail

}  // namespace quoit::inline v1
