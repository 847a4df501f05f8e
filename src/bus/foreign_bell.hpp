// The descriptor of one endpoint for loops that are not quoit's: readable while asking the endpoint may pay.
//
// It is an epoll descriptor, which is readable while one of these is: what others write to (a named pipe in shared
// memory, an eventfd of this process on the kernel path), a timer for wakes that died with their waker, and on the
// kernel path the sockets. So it is level-triggered in poll, select, epoll and whatever stands on them.
//
// The endpoint sees to it that what is written to is empty only while it is armed: when it was asked and had nothing,
// it clears, arms, fences, and looks once more.
//
// Thread safety: the endpoint's thread.
#pragma once

#include <memory>

#include "base/deadline.hpp"
#include "base/fd.hpp"
#include "topic/node.hpp"

namespace quoit::inline v1::detail {

class foreign_bell {
 public:
  // Who rings besides the endpoint itself.
  enum class ringer {
    processes,  // they write to a pipe
    threads,    // of this process, to an eventfd (written_to())
    nobody,
  };
  // It is readable at first. `sockets`: a descriptor that makes it readable as well; -1: there is none. `period`: of
  // the timer. Errors: as node::make_endpoint_pipe().
  static result<std::unique_ptr<foreign_bell>> make(node& owner, ringer who, int sockets,
                                                    std::chrono::nanoseconds period);
  ~foreign_bell();
  foreign_bell(const foreign_bell&) = delete;
  foreign_bell& operator=(const foreign_bell&) = delete;

  int descriptor() const noexcept { return set_.get(); }
  // The number of its pipe, for the endpoint's entry; 0 without one.
  u32 pipe() const noexcept { return pipe_; }
  // Where others write 8 bytes.
  int written_to() const noexcept { return written_.get(); }

  // Makes it readable.
  void ring() noexcept;
  // Takes what was written so far.
  void clear() noexcept;
  // True once in each period: from the end of one until this is asked, the timer makes it readable.
  bool recheck_is_due() noexcept;

 private:
  foreign_bell(node& owner, ringer who, std::chrono::nanoseconds period) noexcept;
  result<void> set_up(int sockets);
  void wind_up() noexcept;

  node& owner_;
  ringer who_;
  std::chrono::nanoseconds period_;
  deadline recheck_;
  fd written_;
  fd timer_;
  fd set_;
  u32 pipe_ = 0;
  bool rung_ = false;  // by us, and not cleared since
};

}  // namespace quoit::inline v1::detail
