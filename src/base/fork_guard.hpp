// What a forked child must not keep of its parent: descriptors whose locks say that somebody is alive.
//
// The child closes every descriptor that is guarded (closing there does not unlock for the parent, as an
// explicit unlock would), and `fork_epoch` changes in it, so that handles made before answer `forked`.
//
// Descriptors are copied without these handlers too, for as long as posix_spawn() takes to reach exec. So the
// owner unlocks before it closes: a close would do so only with the last copy. A process that is killed in the middle
// of a fork stays alive for the others until its child has run the handlers, microseconds later.
#pragma once

#include "base/fd.hpp"
#include "quoit/detail/fork_epoch.hpp"

namespace quoit::inline v1::detail {

// From now on `fork_epoch` changes in a child. Guarding a descriptor sees to that too.
void notice_forks();

// A descriptor that is closed in a child, and whose locks go with it. Thread safety: distinct objects, any thread.
class guarded_fd {
 public:
  guarded_fd() = default;
  // Guards what `open` returns, an fd. No other thread forks between the two: the child would have an unguarded copy.
  template <class Open>
  static guarded_fd opened_by(Open&& open) {
    const fork_pause pause;
    return guarded_fd(open());
  }
  guarded_fd(guarded_fd&& other) noexcept;
  guarded_fd& operator=(guarded_fd&& other) noexcept;
  ~guarded_fd() { reset(); }

  int get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ >= 0; }
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
  explicit guarded_fd(fd value);

  int value_ = -1;
  std::uint32_t epoch_ = 0;
};

}  // namespace quoit::inline v1::detail
