// What can go wrong, as a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "quoit/detail/export.hpp"

namespace quoit::inline v1 {

enum class errc : std::uint16_t {
  would_block = 1,    // nothing free now: a reader or a loan of one's own is in the way
  timed_out,          // the time given was over first
  lagged,             // value(): messages that were overwritten before this subscriber read them
  closed,             // this handle, or its bus, was closed
  cancelled,          // a stop was requested
  forked,             // the object was made before a fork, and this is the child (docs/processes.md)
  too_many_samples,   // as many samples are held as the subscription may hold (option `samples_max`)
  too_many_loans,     // as many loans are open as the publisher may have (option `loans_max`)
  message_too_large,  // value(): capacity_bytes that a lane for it needs; 0: no lane takes it
  invalid_name,       // outside the grammar of names
  invalid_argument,   // an option that cannot be, or a file that cannot be mapped
  type_mismatch,      // the topic carries another type
  policy_conflict,    // a reliable subscription and an overwriting lane
  limit_reached,      // value(): the limit; the words name the option
  busy,               // somebody else holds it, or its lock
  no_space,           // value(): bytes needed; the memory file system is full
  no_permission,      // of another user, and no mode or group lets this one in
  not_found,
  newer_version,  // made by a version of another layout; the words name both
  corrupt,        // no version of quoit writes such bytes
  system,         // a system call failed in a way that has no other name here; see system_errno()
  wrong_thread,   // of an executor: it runs on another thread, or is running already
  truncated,      // value(): bytes that were copied; the file was made shorter and ends before the rest
  interrupted,    // bus::interrupt() ended a call that blocks
};

QUOIT_EXPORT std::string_view name(errc code) noexcept;

// An error: a code, an errno (0 where none belongs to it), a number whose meaning depends on the code, and
// words. Words exist where set-up fails and say what was found, what was expected and what to do; errors of
// the steady state have none and allocate nothing. 24 bytes.
//
// Thread safety: a value, like a std::string.
class QUOIT_EXPORT error {
 public:
  explicit error(errc code, std::uint64_t value = 0, int system_errno = 0) noexcept
      : value_(value), errno_(system_errno), code_(code) {}
  error(errc code, std::string_view words, std::uint64_t value = 0, int system_errno = 0);
  error(const error& other);
  error(error&& other) noexcept;
  error& operator=(error other) noexcept;
  ~error();

  errc code() const noexcept { return code_; }
  int system_errno() const noexcept { return errno_; }
  std::uint64_t value() const noexcept { return value_; }
  std::string_view words() const noexcept { return words_ == nullptr ? std::string_view{} : words_; }
  // For a person: the name of the code, and the words or what the number means.
  std::string message() const;

  friend bool operator==(const error& e, errc code) noexcept { return e.code_ == code; }

 private:
  std::uint64_t value_;
  char* words_ = nullptr;
  int errno_;
  errc code_;
};
static_assert(sizeof(error) <= 24);

}  // namespace quoit::inline v1
