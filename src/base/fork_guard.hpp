// What a forked child does not have of its parent: descriptors, and with them the locks that say that somebody is
// alive.
//
// The child handler of fork() closes every fd (base/fd.hpp); closing there does not unlock for the parent, as an
// explicit unlock would. `fork_epoch` changes in the child, so that handles made before answer `forked`.
//
// Descriptors are copied without these handlers too, for as long as posix_spawn() takes to reach exec. So the
// owner of a lock unlocks before it closes: a close would do so only with the last copy. A process that is killed in
// the middle of a fork stays alive for the others until its child has run the handlers, microseconds later.
#pragma once

#include "base/fd.hpp"
#include "quoit/detail/fork_epoch.hpp"

namespace quoit::inline v1::detail {

// Sees to it that the handlers are set. They are, once the library's static objects were made: this is for who sets
// handlers of its own that are to run outside of these, and for the static objects of others.
void notice_forks();

// A descriptor that holds locks, or that others must not find in a child even for a moment.
// Thread safety: distinct objects, any thread.
class guarded_fd {
 public:
  guarded_fd() = default;
  // Guards what `open` returns, an fd. No other thread forks between the two: the child would have a copy of the
  // descriptor that nothing closes. `open` does not block.
  template <class Open>
  static guarded_fd opened_by(Open&& open) {
    const fork_pause pause;
    return guarded_fd(open());
  }
  guarded_fd(guarded_fd&&) noexcept = default;
  guarded_fd& operator=(guarded_fd&& other) noexcept {
    if (this != &other) {
      reset();
      value_ = std::move(other.value_);
    }
    return *this;
  }
  ~guarded_fd() { reset(); }

  int get() const noexcept { return value_.get(); }
  explicit operator bool() const noexcept { return static_cast<bool>(value_); }
  // Unlocks, and closes.
  void reset() noexcept;

  // While one exists, fork() waits, and so does whoever opens or closes what is guarded.
  class fork_pause {
   public:
    fork_pause();
    ~fork_pause();
    fork_pause(const fork_pause&) = delete;
    fork_pause& operator=(const fork_pause&) = delete;
  };

 private:
  explicit guarded_fd(fd value) noexcept : value_(std::move(value)) {}

  fd value_;
};

}  // namespace quoit::inline v1::detail
