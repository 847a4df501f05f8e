#include "transport/unix/sockets.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/call_counts.hpp"
#include "base/deadline.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int waiting_connections_max = 4096;
// What the kernel keeps of a send buffer for itself.
constexpr std::size_t packet_overhead_bytes = 32;

result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return tl::unexpected(error(errc::invalid_argument,
                                path + " has " + std::to_string(path.size()) + " bytes, and a socket's path at most " +
                                    std::to_string(sizeof address.sun_path - 1) +
                                    ": choose a shorter directory (the environment variable QUOIT_SOCKETS)",
                                sizeof address.sun_path - 1));
  }
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

// Guards what `make` returns, an fd. `why` is set to the errno if it fails.
template <class Make>
guarded_fd guarded(Make make, int& why) {
  return guarded_fd::opened_by([&] {
    fd descriptor = make();
    if (!descriptor) why = errno;
    return descriptor;
  });
}

// Directories keep other users out; this is for those that root lets in.
bool of_this_user(int socket) noexcept {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

// Of a message; greetings are none.
void count_copy(std::size_t bytes) noexcept {
  count_call(calls_made.copies);
  count_call(calls_made.copied_bytes, bytes);
}

}  // namespace

error descriptor_error(const std::string& doing, int why) {
  switch (why) {
    case EMFILE:
    case ENFILE: return error(errc::limit_reached, doing + ": too many open files (ulimit -n)", 0, why);
    case EACCES:
    case EPERM: return error(errc::no_permission, doing, 0, why);
    case ENOSPC:
    case ENOMEM:
    case ENOBUFS: return error(errc::no_space, doing, 0, why);
    case ENOENT:
    case ECONNREFUSED: return error(errc::not_found, doing, 0, why);
    case EAGAIN: return error(errc::busy, doing, 0, why);
    default: return error(errc::system, doing, 0, why);
  }
}

result<guarded_fd> listen_at(const std::string& path) {
  auto address = address_of(path);
  if (!address) return tl::unexpected(std::move(address.error()));
  int why = 0;
  guarded_fd socket = guarded([] { return make_socket(SOCK_SEQPACKET | SOCK_NONBLOCK); }, why);
  if (!socket) return tl::unexpected(descriptor_error("making a socket", why));
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return tl::unexpected(descriptor_error("binding " + path, errno));
  }
  if (::listen(socket.get(), waiting_connections_max) != 0) {
    const int number = errno;
    ::unlink(path.c_str());
    return tl::unexpected(descriptor_error("listening at " + path, number));
  }
  return socket;
}

result<guarded_fd> connect_to(const std::string& path) {
  auto address = address_of(path);
  if (!address) return tl::unexpected(std::move(address.error()));
  int why = 0;
  guarded_fd socket = guarded([] { return make_socket(SOCK_SEQPACKET | SOCK_NONBLOCK); }, why);
  if (!socket) return tl::unexpected(descriptor_error("making a socket", why));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return tl::unexpected(descriptor_error("connecting to " + path, errno));
  }
  if (!of_this_user(socket.get())) {
    return tl::unexpected(error(errc::no_permission, path + " was bound by another user"));
  }
  return socket;
}

result<guarded_fd> accept_from(int listener) {
  int why = 0;
  guarded_fd socket = guarded([&] { return accept_connection(listener, SOCK_NONBLOCK); }, why);
  if (socket && of_this_user(socket.get())) return socket;
  if (socket || why == EAGAIN || why == ECONNABORTED || why == EINTR) return guarded_fd();
  return tl::unexpected(descriptor_error("taking a connection", why));
}

std::size_t packet_bytes_max(int socket, std::size_t wanted) noexcept {
  int has = 0;
  socklen_t bytes = sizeof has;
  const auto asked = [&] {
    has = 0;
    ::getsockopt(socket, SOL_SOCKET, SO_SNDBUF, &has, &bytes);
    return static_cast<std::size_t>(std::max(has, 0));
  };
  // Room for two, so that one can be filled while the other is read. The kernel doubles what it is told, and has a
  // limit: net.core.wmem_max.
  const std::size_t most = std::size_t{1} << 30;
  if (asked() < 2 * wanted + packet_overhead_bytes) {
    const int tell = static_cast<int>(std::min(wanted + packet_overhead_bytes, most));
    ::setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &tell, sizeof tell);
  }
  const std::size_t now = asked();
  return now > packet_overhead_bytes ? now - packet_overhead_bytes : 0;
}

packet send_packet(int socket, const void* head, std::size_t head_bytes, const void* body,
                   std::size_t body_bytes) noexcept {
  iovec parts[2] = {{const_cast<void*>(head), head_bytes}, {const_cast<void*>(body), body_bytes}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body_bytes == 0 ? 1 : 2;
  for (;;) {
    count_call(calls_made.sends);
    if (::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
      if (body != nullptr) count_copy(body_bytes);
      return packet::done;
    }
    if (errno == EINTR) continue;
    // The kernel has no memory for it now; that is no reason to lose it.
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) return packet::would_block;
    return packet::gone;
  }
}

packet receive_packet(int socket, void* head, std::size_t head_bytes, void* body, std::size_t body_bytes,
                      std::size_t& bytes, bool& cut) noexcept {
  iovec parts[2] = {{head, head_bytes}, {body, body_bytes}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = body_bytes == 0 ? 1 : 2;
  for (;;) {
    count_call(calls_made.receives);
    const ssize_t n = ::recvmsg(socket, &message, MSG_DONTWAIT);
    if (n > 0) {
      bytes = static_cast<std::size_t>(n);
      if (body != nullptr) count_copy(bytes - std::min(bytes, head_bytes));
      cut = (message.msg_flags & MSG_TRUNC) != 0;
      return packet::done;
    }
    if (n == 0) return packet::gone;
    if (errno == EINTR) continue;
    return errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS ? packet::would_block : packet::gone;
  }
}

packet look_at_packet(int socket, std::size_t& bytes) noexcept {
  for (;;) {
    count_call(calls_made.receives);
    const ssize_t n = ::recv(socket, nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN ? packet::would_block : packet::gone;
    bytes = static_cast<std::size_t>(n);
    return n == 0 ? packet::gone : packet::done;
  }
}

bool is_connected(int socket) noexcept {
  std::size_t bytes = 0;
  return look_at_packet(socket, bytes) != packet::gone;
}

bool wait_for_packet(int socket, std::chrono::nanoseconds timeout) noexcept {
  const deadline end(timeout);
  for (;;) {
    const auto left = end.left();
    const timespec most{static_cast<time_t>(left.count() / 1'000'000'000),
                        static_cast<long>(left.count() % 1'000'000'000)};
    pollfd one{socket, POLLIN, 0};
    count_call(calls_made.sleeps);
    const int n = ::ppoll(&one, 1, &most, nullptr);
    if (n > 0) return true;
    if (n == 0 || errno != EINTR) return false;
  }
}

}  // namespace quoit::inline v1::detail
