// Files and sockets, awaited: each function makes an operation for co_await.
//
// Suspends until the kernel is done; goes on on the same executor, which the descriptor does not have to know. The
// memory that is named stays until then. Nothing here allocates.
//
// Cancellation: a stop of the task asks the kernel to give up; what was done before that is the answer, else
// errc::cancelled. A read of a file, or an fsync, that the kernel has begun is not interrupted. So accept() and open()
// may answer a descriptor in spite of a stop: timeout() hands it on, but when_any() drops what its losers answer, and a
// number that is dropped is a descriptor that stays open; a task that keeps what it accepts is what to give to it.
// A task that is destroyed in accept() or open() closes what came of it.
//
// A descriptor that is closed under an operation stays open in the kernel until that is over: it goes on, and can be
// stopped. shutdown(2) ends what waits for a socket.
//
// Signals: none is raised. Where a write would be a SIGPIPE or a SIGXFSZ, the answer is EPIPE or EFBIG.
//
// Errors: cancelled; forked (docs/processes.md); system, with system_errno(): what the call of that name answers, and
// EAGAIN or ENOMEM if the kernel has no memory for the request. They are the same on io_uring and on epoll.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "quoit/detail/coroutine.hpp"
#include "quoit/detail/exec/promise.hpp"
#include "quoit/result.hpp"

struct sockaddr;

namespace quoit::inline v1 {

namespace detail {

QUOIT_EXPORT error io_error(std::int32_t kernel_answer) noexcept;
// Nobody takes the answer: closes what was opened, and what was to be closed and is not.
QUOIT_EXPORT void drop_answer(const operation& op, const io_request& request) noexcept;

template <class R>
class io_awaiter : private operation, private stop_hook {
 public:
  explicit io_awaiter(const io_request& request) noexcept
      : stop_hook([](stop_hook& hook) noexcept {
          auto& self = static_cast<io_awaiter&>(hook);
          self.loop_->cancel(self);
        }),
        request_(request) {}
  ~io_awaiter() {
    if (loop_ == nullptr) return;
    loop_->abandon(*this);
    loop_->forget(*this);
    if (!taken_) drop_answer(*this, request_);
  }
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) noexcept {
    // A descriptor is closed whatever is asked of us: nobody would do it later.
    const bool closes = request_.code == io_code::close;
    if (promise_of(h).stop().stop_requested() && !closes) {
      result_ = cancelled_before;
      return false;
    }
    loop_ = promise_of(h).loop();
    handle = h;
    // A descriptor whose close was interrupted is closed, and a connection that was is being made.
    if (!closes && request_.code != io_code::connect) again = &request_;
    loop_->start(*this, request_);
    if (!closes) attach(promise_of(h).stop());
    return true;
  }
  quoit::result<R> await_resume() noexcept {
    detach();
    taken_ = true;
    const std::int32_t answer = loop_ == nullptr ? result_ : operation::result;
    if (answer < 0) return tl::make_unexpected(io_error(answer));
    if constexpr (std::is_void_v<R>) {
      return {};
    } else {
      return static_cast<R>(answer);
    }
  }

 private:
  static constexpr std::int32_t cancelled_before = -125;  // ECANCELED

  loop* loop_ = nullptr;
  std::int32_t result_ = 0;
  bool taken_ = false;
  io_request request_;
};

template <class R>
class io_operation {
 public:
  explicit io_operation(const io_request& request) noexcept : request_(request) {}
  io_awaiter<R> operator co_await() const noexcept { return io_awaiter<R>(request_); }

 private:
  io_request request_;
};

inline io_request request(io_code code, int fd, const void* address = nullptr, std::size_t length = 0,
                          std::uint32_t flags = 0, std::uint64_t offset = 0) noexcept {
  io_request r{};
  r.code = code;
  r.fd = fd;
  r.address = address;
  // The kernel moves at most 2 GiB at once, less a page.
  r.length = length < 0x7ffff000 ? static_cast<std::uint32_t>(length) : 0x7ffff000u;
  r.flags = flags;
  r.offset = offset;
  return r;
}

}  // namespace detail

// Where a file stands by itself: for files that are read from front to end. Pipes and terminals have no places, and any
// offset is this one there; a socket refuses one (ESPIPE).
inline constexpr std::uint64_t current_position = ~std::uint64_t{0};

// Bytes read: 0 at the end, fewer than asked for if no more are there.
inline detail::io_operation<std::size_t> read(int fd, std::span<std::byte> into,
                                              std::uint64_t offset = current_position) noexcept {
  return detail::io_operation<std::size_t>(
      detail::request(detail::io_code::read, fd, into.data(), into.size(), 0, offset));
}
// Bytes written, perhaps fewer than given. A peer that is gone is EPIPE and no signal, of sockets and of pipes.
inline detail::io_operation<std::size_t> write(int fd, std::span<const std::byte> from,
                                               std::uint64_t offset = current_position) noexcept {
  return detail::io_operation<std::size_t>(
      detail::request(detail::io_code::write, fd, from.data(), from.size(), 0, offset));
}
inline detail::io_operation<void> fsync(int fd) noexcept {
  return detail::io_operation<void>(detail::request(detail::io_code::fsync, fd));
}
// Data, and as much of the rest as reading it back needs.
inline detail::io_operation<void> fdatasync(int fd) noexcept {
  return detail::io_operation<void>(detail::request(detail::io_code::fdatasync, fd));
}
// A descriptor: the lowest number that is free, also 0, 1 or 2. `flags` and `permissions` as for open(2); O_CLOEXEC is
// not added.
inline detail::io_operation<int> open(const char* path, int flags, unsigned permissions = 0) noexcept {
  constexpr int working_directory = -100;  // AT_FDCWD
  return detail::io_operation<int>(
      detail::request(detail::io_code::open, working_directory, path, permissions, static_cast<std::uint32_t>(flags)));
}
// Not cancelled by a stop. In a forked child the descriptor is closed, and the answer is `forked`.
inline detail::io_operation<void> close(int fd) noexcept {
  return detail::io_operation<void>(detail::request(detail::io_code::close, fd));
}
// The descriptor of a connection, with SOCK_CLOEXEC.
inline detail::io_operation<int> accept(int listening) noexcept {
  constexpr std::uint32_t close_on_exec = 02000000;  // SOCK_CLOEXEC
  return detail::io_operation<int>(detail::request(detail::io_code::accept, listening, nullptr, 0, close_on_exec));
}
inline detail::io_operation<void> connect(int fd, const ::sockaddr* to, std::uint32_t bytes) noexcept {
  return detail::io_operation<void>(detail::request(detail::io_code::connect, fd, to, bytes));
}
// Bytes sent, perhaps fewer than given. `flags` as for send(2); a peer that is gone is EPIPE and no signal.
inline detail::io_operation<std::size_t> send(int fd, std::span<const std::byte> from, int flags = 0) noexcept {
  constexpr int no_signal = 0x4000;  // MSG_NOSIGNAL
  return detail::io_operation<std::size_t>(detail::request(detail::io_code::send, fd, from.data(), from.size(),
                                                           static_cast<std::uint32_t>(flags | no_signal)));
}
// Bytes received: 0 when the peer has closed.
inline detail::io_operation<std::size_t> recv(int fd, std::span<std::byte> into, int flags = 0) noexcept {
  return detail::io_operation<std::size_t>(
      detail::request(detail::io_code::recv, fd, into.data(), into.size(), static_cast<std::uint32_t>(flags)));
}
// Until one of `events` (POLLIN, POLLOUT, ...) is there: which ones are.
inline detail::io_operation<unsigned> poll(int fd, unsigned events) noexcept {
  return detail::io_operation<unsigned>(detail::request(detail::io_code::poll, fd, nullptr, 0, events));
}

}  // namespace quoit::inline v1
