// Bytes through a stream socket and back, each side with an io_uring of its own that is set up as the executor's is.
// Each request is over before the next one is made: send and wait, receive and wait, and nothing else.
//
// A pair of UNIX sockets, not TCP: the kernel does least between them, so that whatever is done around it shows most.
#pragma once

#include <sys/socket.h>

#include <vector>

#include "pair.hpp"
#include "ring.hpp"

namespace floors {

inline constexpr std::size_t echo_bytes_max = std::size_t{1} << 20;

struct echo_memory {
  int sockets[2];  // made before the fork: the asking side's, the answering side's
  bool open() { return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0; }
};

// One request at a time.
class echo_ring {
 public:
  explicit echo_ring(bool spins) : spins_(spins) {}

  void send(int socket, const unsigned char* from, std::size_t bytes) {
    for (std::size_t done = 0; done < bytes;) {
      ::io_uring_prep_send(ring_.entry(), socket, from + done, bytes - done, MSG_NOSIGNAL);
      done += answer();
    }
  }
  void receive(int socket, unsigned char* into, std::size_t bytes) {
    for (std::size_t done = 0; done < bytes;) {
      ::io_uring_prep_recv(ring_.entry(), socket, into + done, bytes - done, 0);
      done += answer();
    }
  }
  std::uint64_t calls() const { return calls_; }

 private:
  // IORING_SQ_CQ_OVERFLOW and IORING_SQ_TASKRUN: the kernel has something that it puts there when asked.
  bool asks_for_a_call() { return (*ring_.get()->sq.kflags & (1u << 1 | 1u << 2)) != 0; }

  std::size_t answer() {
    const int result = spins_ ? spin() : ring_.sleep(calls_);
    if (result <= 0) end_floor("send or recv", -result);
    return static_cast<std::size_t>(result);
  }
  int spin() {
    ++calls_;
    ::io_uring_submit(ring_.get());
    while (::io_uring_cq_ready(ring_.get()) == 0 && !asks_for_a_call()) {
    }
    if (::io_uring_cq_ready(ring_.get()) == 0) ++calls_;
    return ring_.take();
  }

  ring ring_;
  bool spins_;
  std::uint64_t calls_ = 0;
};

// Each returns how often it called the kernel.
inline std::uint64_t echo_ask(const echo_memory& m, bool spins, std::uint64_t turns, std::size_t bytes, histogram& h) {
  std::vector<unsigned char> mine(bytes, 7), got(bytes);
  echo_ring ring(spins);
  for (std::uint64_t i = 0; i < turns; ++i) {
    const std::uint64_t begin = ticks();
    ring.send(m.sockets[0], mine.data(), bytes);
    ring.receive(m.sockets[0], got.data(), bytes);
    h.record(ticks() - begin);
  }
  return ring.calls();
}

inline std::uint64_t echo_answer(const echo_memory& m, bool spins, std::uint64_t turns, std::size_t bytes) {
  std::vector<unsigned char> got(bytes);
  echo_ring ring(spins);
  for (std::uint64_t i = 0; i < turns; ++i) {
    ring.receive(m.sockets[1], got.data(), bytes);
    ring.send(m.sockets[1], got.data(), bytes);
  }
  return ring.calls();
}

}  // namespace floors
