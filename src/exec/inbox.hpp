// Work from other threads: a queue, and a descriptor that is written only for a loop that sleeps.
//
// The poster pushes, fences and looks at `sleeping`; the loop sets `sleeping`, fences and looks at the queue: either
// sees the other. Whoever takes the 1 writes.
#pragma once

#include <atomic>
#include <boost/lockfree/queue.hpp>

#include "base/fd.hpp"
#include "quoit/detail/exec/loop.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

class inbox {
 public:
  // Errors: limit_reached (descriptors), system.
  result<void> open();
  ~inbox();

  // Any thread. The work is the queue's. Throws std::bad_alloc, and then it is not: waiting for memory could be for
  // ever, on the loop's own thread.
  void push(posted& work);
  // Any thread, and a signal handler: it needs no memory.
  void request_stop() noexcept;

  // ---- the loop's thread ----
  bool empty() const noexcept { return queue_.empty(); }
  // Runs what is there. True if there was something.
  bool run() noexcept;
  // Takes the request for a stop.
  bool take_stop() noexcept;
  // True: the loop may sleep, and a poster will write to the descriptor.
  bool prepare_sleep() noexcept;
  // relaxed: a poster that has taken the 1 writes for nothing
  void woken() noexcept { owed_ = sleeping_.exchange(0, std::memory_order_relaxed) == 0 || owed_; }
  // Takes what posters have written, where no read of the loop's does.
  void clear() noexcept;
  int descriptor() const noexcept { return bell_.get(); }
  // Wakes the loop if it sleeps; any thread.
  void ring() noexcept;

 private:
  static constexpr std::size_t nodes_at_first = 128;

  boost::lockfree::queue<posted*> queue_{nodes_at_first};
  fd bell_;
  bool owed_ = false;  // somebody took `sleeping`: it has written, or is about to
  alignas(64) std::atomic<std::uint32_t> sleeping_{0};
  std::atomic<std::uint32_t> stop_{0};
};

}  // namespace quoit::inline v1::detail
