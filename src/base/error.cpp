#include "quoit/error.hpp"

#include <cstdlib>
#include <cstring>
#include <utility>

namespace quoit::inline v1 {

namespace {

// Set-up errors are rare, and one whose words could not be stored is still an error with a code.
char* copy_words(std::string_view words) noexcept {
  if (words.empty()) return nullptr;
  char* const copy = static_cast<char*>(std::malloc(words.size() + 1));
  if (copy == nullptr) return nullptr;
  std::memcpy(copy, words.data(), words.size());
  copy[words.size()] = '\0';
  return copy;
}

}  // namespace

std::string_view name(errc code) noexcept {
  switch (code) {
    case errc::would_block: return "would block";
    case errc::timed_out: return "timed out";
    case errc::lagged: return "lagged";
    case errc::closed: return "closed";
    case errc::cancelled: return "cancelled";
    case errc::forked: return "forked";
    case errc::too_many_samples: return "too many samples";
    case errc::too_many_loans: return "too many loans";
    case errc::message_too_large: return "message too large";
    case errc::invalid_name: return "invalid name";
    case errc::invalid_argument: return "invalid argument";
    case errc::type_mismatch: return "type mismatch";
    case errc::policy_conflict: return "policy conflict";
    case errc::limit_reached: return "limit reached";
    case errc::busy: return "busy";
    case errc::no_space: return "no space";
    case errc::no_permission: return "no permission";
    case errc::not_found: return "not found";
    case errc::newer_version: return "another version";
    case errc::corrupt: return "corrupt";
    case errc::system: return "system error";
    case errc::wrong_thread: return "wrong thread";
    case errc::truncated: return "truncated";
    case errc::interrupted: return "interrupted";
  }
  return "unknown error";
}

error::error(errc code, std::string_view words, std::uint64_t value, int system_errno)
    : value_(value), words_(copy_words(words)), errno_(system_errno), code_(code) {}

error::error(const error& other)
    : value_(other.value_), words_(copy_words(other.words())), errno_(other.errno_), code_(other.code_) {}

error::error(error&& other) noexcept
    : value_(other.value_), words_(std::exchange(other.words_, nullptr)), errno_(other.errno_), code_(other.code_) {}

error& error::operator=(error other) noexcept {
  value_ = other.value_;
  std::swap(words_, other.words_);
  errno_ = other.errno_;
  code_ = other.code_;
  return *this;
}

error::~error() { std::free(words_); }

std::string error::message() const {
  std::string text{name(code_)};
  if (words_ != nullptr) {
    text += ": ";
    text += words_;
  } else {
    switch (code_) {
      case errc::lagged:
        text += ": " + std::to_string(value_) + " messages were overwritten before they were read";
        break;
      case errc::message_too_large:
        text += value_ == 0 ? ": no lane takes a message of this size"
                            : ": it needs a lane of at least " + std::to_string(value_) +
                                  " bytes (options capacity_bytes and message_bytes_max)";
        break;
      case errc::too_many_samples:
        text += ": release one, or open the subscriber with a larger samples_max (now " + std::to_string(value_) + ")";
        break;
      case errc::too_many_loans:
        text +=
            ": publish or drop one, or open the publisher with a larger loans_max (now " + std::to_string(value_) + ")";
        break;
      case errc::truncated:
        text += ": the file was made shorter; " + std::to_string(value_) + " bytes were copied, and the rest is gone";
        break;
      case errc::forked: text += ": this object belongs to the parent process; make a new one in the child"; break;
      default: break;
    }
  }
  if (errno_ != 0) {
    text += " (";
    text += ::strerrordesc_np(errno_) != nullptr ? ::strerrordesc_np(errno_) : "errno";
    text += ")";
  }
  return text;
}

}  // namespace quoit::inline v1
