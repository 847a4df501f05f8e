// An io_uring that is set up as the executor's is, for floors that wait in one.
#pragma once

#include <liburing.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace floors {

// A floor that lacks what it stands on says so and ends.
[[noreturn]] inline void end_floor(const char* doing, int why) {
  std::fprintf(stderr, "%s: %s\n", doing, std::strerror(why));
  ::_exit(1);
}

class ring {
 public:
  ring() {
    constexpr unsigned ladder[] = {
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG, 0};
    int status = -EINVAL;
    for (const unsigned flags : ladder) {
      if (status == -EINVAL) status = ::io_uring_queue_init(256, &ring_, flags);
    }
    if (status < 0) end_floor("io_uring_setup", -status);
    ::io_uring_register_ring_fd(&ring_);
  }
  ~ring() { ::io_uring_queue_exit(&ring_); }
  ring(const ring&) = delete;
  ring& operator=(const ring&) = delete;

  // There is room: one request is under way at a time.
  io_uring_sqe* entry() {
    io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) end_floor("io_uring", EBUSY);
    return sqe;
  }
  io_uring* get() { return &ring_; }

  // What became of the one request that is under way; asleep in the kernel until then. Counts its calls in `calls`.
  int sleep(std::uint64_t& calls) {
    do {
      ++calls;
      ::io_uring_submit_and_wait(&ring_, 1);
    } while (::io_uring_cq_ready(&ring_) == 0);  // a signal
    return take();
  }
  int take() {
    io_uring_cqe* done = nullptr;
    while (::io_uring_peek_cqe(&ring_, &done) != 0) {
    }
    const int result = done->res;
    ::io_uring_cqe_seen(&ring_, done);
    return result;
  }

 private:
  io_uring ring_{};
};

}  // namespace floors
