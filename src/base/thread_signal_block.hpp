#pragma once

#include <signal.h>

namespace quoit::inline v1::detail {

// Blocks a signal in the calling thread for the time of a call that may raise it in this thread (SIGXFSZ, SIGPIPE).
// What the process does with the signal, and every other thread, stays as it is. errno is kept.
class thread_signal_block {
 public:
  explicit thread_signal_block(int number) noexcept;
  thread_signal_block(const thread_signal_block&) = delete;
  thread_signal_block& operator=(const thread_signal_block&) = delete;
  ~thread_signal_block();
  // The call inside has raised it: it is taken away, unless it was pending before.
  void take() const noexcept;

 private:
  sigset_t blocked_;
  sigset_t before_;
  bool was_pending_;
};

}  // namespace quoit::inline v1::detail
