// What a loop asks the kernel through: io_uring, or epoll where that is not to be had.
#pragma once

#include <memory>
#include <string>

#include "exec/epoll.hpp"
#include "exec/uring.hpp"
#include "quoit/options.hpp"

namespace quoit::inline v1::detail {

class kernel_queue {
 public:
  // Errors: as uring::open() if io_uring was asked for, or there are no descriptors; invalid_argument (an environment
  // variable); system (futexes were asked for, and cannot be waited for here).
  static result<void> open(kernel_queue& out, const executor_options& options);

  int enable() noexcept { return epoll_ ? 0 : ring_.enable(); }
  void leave_thread() noexcept {
    if (!epoll_) ring_.leave_thread();
  }
  bool prepare(const io_request& request, operation& op) noexcept {
    return epoll_ ? epoll_->prepare(request, op) : ring_.prepare(request, op);
  }
  // False: the queue is full, and the kernel takes nothing before completions are taken.
  bool prepare_cancel(operation& op) noexcept {
    if (!epoll_) return ring_.prepare_cancel(op);
    epoll_->cancel(op);
    return true;
  }
  // A descriptor that was asked for by io_code::bell is going to be closed.
  void forget(int descriptor) noexcept {
    if (epoll_) epoll_->forget(descriptor);
  }
  bool pending() const noexcept { return !epoll_ && ring_.pending(); }
  void submit() noexcept { ring_.submit(); }
  void submit_and_wait(std::int64_t timeout_ns) noexcept {
    if (epoll_) return epoll_->wait(timeout_ns);
    ring_.submit_and_wait(timeout_ns);
  }
  // A descriptor that is readable when submit_and_wait() would find something. Errors: as uring::descriptor().
  result<int> descriptor() {
    if (epoll_) return epoll_->descriptor();
    return ring_.descriptor();
  }
  // What comes after this makes the descriptor readable again; what is there is for anything() to find.
  void acknowledge() noexcept {
    if (!epoll_) ring_.acknowledge();
  }
  // How long an answer may stay unheard that does not make the descriptor readable; below 0: there is none.
  std::int64_t unheard_ns() const noexcept {
    if (!epoll_) return uring::unheard_ns;
    return epoll_->must_try_again() ? epoll_queue::tried_again_after_ns : -1;
  }
  template <class Each>
  unsigned take(Each each) noexcept {
    return epoll_ ? epoll_->take(each) : ring_.take(each);
  }
  // True if take() may find something, as far as memory tells.
  bool anything() const noexcept { return epoll_ ? epoll_->anything() : ring_.anything(); }
  // True if only a system call tells.
  bool must_ask() const noexcept { return epoll_ && epoll_->must_ask(); }

  // Whether a named pipe is better polled, and read then: io_uring of Linux 6.1 leaves the read to a thread of the
  // kernel, which wakes the loop in turn, two wakes for each.
  bool polls_bells() const noexcept { return !epoll_; }
  // Whether it takes io_code::alarm.
  bool keeps_alarms() const noexcept { return !epoll_; }
  bool waits_on_futexes() const noexcept { return on_words_; }
  const char* describe() const noexcept { return epoll_ ? words_.c_str() : ring_.describe(); }
  std::uint64_t system_calls() const noexcept { return epoll_ ? epoll_->system_calls() : ring_.enters(); }

 private:
  static result<void> open_engine(kernel_queue& out, const executor_options& options);

  uring ring_;
  std::unique_ptr<epoll_queue> epoll_;
  std::string words_;
  bool on_words_ = false;
};

}  // namespace quoit::inline v1::detail
