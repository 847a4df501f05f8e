#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

#include "quoit/detail/fork_epoch.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// A shared mapping of a file, or of a part of one. Unmapped when it goes.
class mapping {
 public:
  mapping() = default;
  mapping(void* base, std::size_t bytes) noexcept : base_(static_cast<std::byte*>(base)), bytes_(bytes) {}
  mapping(mapping&& other) noexcept
      : base_(std::exchange(other.base_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        held_(std::move(other.held_)),
        stays_behind_(other.stays_behind_),
        epoch_(other.epoch_) {}
  mapping& operator=(mapping&& other) noexcept {
    if (this != &other) {
      unmap();
      base_ = std::exchange(other.base_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
      held_ = std::move(other.held_);
      stays_behind_ = other.stays_behind_;
      epoch_ = other.epoch_;
    }
    return *this;
  }
  ~mapping() { unmap(); }

  std::byte* data() const noexcept { return base_; }
  std::size_t bytes() const noexcept { return bytes_; }
  // Keeps something until the memory is unmapped.
  void hold(std::shared_ptr<const void> what) noexcept { held_ = std::move(what); }
  // A forked child does not get it: what is there in the child is something else, and is not unmapped.
  void stay_behind_in_parent() noexcept {
    stays_behind_ = true;
    epoch_ = fork_epoch;
  }
  explicit operator bool() const noexcept { return base_ != nullptr; }

  // Leaves it mapped: whoever takes the address unmaps it.
  std::byte* release() noexcept {
    bytes_ = 0;
    return std::exchange(base_, nullptr);
  }

  // The object at `offset`, made there by whoever made the file. (One place for what C++23 calls
  // start_lifetime_as.)
  template <class T>
  T& object(std::size_t offset = 0) const noexcept {
    return *std::launder(reinterpret_cast<T*>(base_ + offset));
  }

 private:
  void unmap() noexcept;

  std::byte* base_ = nullptr;
  std::size_t bytes_ = 0;
  std::shared_ptr<const void> held_;
  bool stays_behind_ = false;
  std::uint32_t epoch_ = 0;
};

enum class access {
  read,
  read_write,
  private_copy,  // may be written, and what is written stays here: the file does not change
};

// Memory of this process alone, zeroed. Errors: no_space (value: bytes).
result<mapping> map_private(std::size_t bytes);

// Maps `bytes` of an open file; the descriptor may be closed afterwards. `what` names it in errors.
result<mapping> map_file(int fd, std::size_t bytes, access how, const char* what, off_t offset = 0);

// Touches every page of memory that nobody else knows yet: here, and not on somebody's fast path.
void populate(const mapping& memory) noexcept;

}  // namespace quoit::inline v1::detail
