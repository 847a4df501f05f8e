// Packets through a SOCK_SEQPACKET socket and back, by send(2) and recv(2) that block, and nothing else.
#pragma once

#include <sys/socket.h>

#include <cstdio>
#include <vector>

#include "pair.hpp"

namespace floors {

inline constexpr std::size_t seqpacket_bytes_max = 65536;

struct seqpacket_memory {
  int sockets[2];  // made before the fork: the asking side's, the answering side's
  bool open() { return ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0; }
};

inline void seqpacket_send(int socket, const unsigned char* from, std::size_t bytes) {
  if (::send(socket, from, bytes, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes)) return;
  std::perror("seqpacket: send");
  ::_exit(1);
}

inline void seqpacket_receive(int socket, unsigned char* into, std::size_t bytes) {
  if (::recv(socket, into, bytes, 0) == static_cast<ssize_t>(bytes)) return;
  std::perror("seqpacket: recv");
  ::_exit(1);
}

inline void seqpacket_ask(const seqpacket_memory& m, std::uint64_t turns, std::size_t bytes, histogram& h) {
  std::vector<unsigned char> mine(bytes, 7), got(bytes);
  for (std::uint64_t i = 0; i < turns; ++i) {
    const std::uint64_t begin = ticks();
    seqpacket_send(m.sockets[0], mine.data(), bytes);
    seqpacket_receive(m.sockets[0], got.data(), bytes);
    h.record(ticks() - begin);
  }
}

inline void seqpacket_answer(const seqpacket_memory& m, std::uint64_t turns, std::size_t bytes) {
  std::vector<unsigned char> got(bytes);
  for (std::uint64_t i = 0; i < turns; ++i) {
    seqpacket_receive(m.sockets[1], got.data(), bytes);
    seqpacket_send(m.sockets[1], got.data(), bytes);
  }
}

}  // namespace floors
