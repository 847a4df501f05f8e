// What a forked child must not keep of its parent: descriptors whose locks say that somebody is alive.
//
// The child closes every descriptor that is guarded (closing there does not unlock for the parent, as an
// explicit unlock would), and `fork_epoch` changes in it, so that handles made before answer `forked`.
#pragma once

#include "base/fd.hpp"
#include "quoit/detail/fork_epoch.hpp"

namespace quoit::inline v1::detail {

// A descriptor that is closed in a child. Thread safety: distinct objects, any thread.
class guarded_fd {
 public:
  guarded_fd() = default;
  explicit guarded_fd(fd value);
  guarded_fd(guarded_fd&& other) noexcept;
  guarded_fd& operator=(guarded_fd&& other) noexcept;
  ~guarded_fd() { reset(); }

  int get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ >= 0; }
  void reset() noexcept;

 private:
  int value_ = -1;
  std::uint32_t epoch_ = 0;
};

}  // namespace quoit::inline v1::detail
