#pragma once

#include <cerrno>
#include <cstring>
#include <string>

#include "quoit/error.hpp"

namespace quoit::inline v1::detail {

// What a system call answered: limit_reached where there are no descriptors, else system.
inline error call_failed(const std::string& call, int number) {
  const errc code = number == EMFILE || number == ENFILE ? errc::limit_reached : errc::system;
  return error(code, call + ": " + std::strerror(number), 0, number);
}

}  // namespace quoit::inline v1::detail
