// Threads that may wait: for a disk, for a file that is opened. They begin when they are needed and end with their
// owner; one that waits for ever (a pipe that nobody opens on its other side) is left to itself.
#pragma once

#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

#include "base/fd.hpp"
#include "exec/direct_io.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// One request that a thread does. Whoever asked has a pointer to it until it took it back or let it go.
struct helper_job {
  partial_io io;
  fd descriptor;             // what the request is about, open as long as it takes
  std::string path;          // of an open
  sockaddr_storage address;  // of a connect
  void* asked_by = nullptr;  // nullptr: nobody takes the answer any more
  std::int32_t answer = -1;
  enum class state : std::uint8_t { queued, running, over } now = state::queued;
  helper_job* next = nullptr;
};

class helper_threads {
 public:
  // Errors: limit_reached (descriptors), system.
  static result<helper_threads*> make();
  // Ends what waits for work, and lets go of what works. Not in a forked child, which has none of the threads.
  void let_go() noexcept;

  // -errno: no memory, no descriptor, or no thread.
  std::int32_t start(const partial_io& io, void* asked_by, helper_job*& out) noexcept;
  // True: it is given up, and nobody is told. False: it uses memory of whoever asked, or is over: its answer comes.
  bool give_up(helper_job& job) noexcept;

  // Readable when something is over; any thread may ask the next one.
  int bell() const noexcept { return bell_.get(); }
  // relaxed: take() looks under the lock
  bool anything() const noexcept { return ready_.load(std::memory_order_relaxed); }
  // The next one that is over; the caller frees it.
  helper_job* take() noexcept;
  void quiet() noexcept;

 private:
  static constexpr unsigned threads_max = 64;
  helper_threads() = default;
  void work() noexcept;
  std::int32_t add_thread() noexcept;
  void unref() noexcept;

  std::mutex mutex_;
  std::condition_variable work_there_;
  helper_job* queue_ = nullptr;
  helper_job** queue_end_ = &queue_;
  helper_job* over_ = nullptr;
  unsigned threads_ = 0;
  unsigned idle_ = 0;
  unsigned queued_ = 0;
  unsigned stuck_ = 0;  // threads at something that was given up: they may never come back, and count for nothing
  bool closing_ = false;
  std::atomic<unsigned> users_{1};
  std::atomic<bool> ready_{false};
  fd bell_;
};

}  // namespace quoit::inline v1::detail
