#include "exec/direct_io.hpp"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

#include "base/call_counts.hpp"
#include "base/fd.hpp"
#include "base/file_size_limit.hpp"
#include "base/thread_signal_block.hpp"

namespace quoit::inline v1::detail {

namespace {

static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLERR == POLLERR && EPOLLHUP == POLLHUP);

// Of a system call, which is counted here.
std::int32_t answer_of(ssize_t returned) noexcept {
  const int number = errno;
  count_call(calls_made.enters);
  return returned < 0 ? -number : static_cast<std::int32_t>(returned);
}

bool would_wait(std::int32_t answer) noexcept { return answer == -EAGAIN || answer == -EWOULDBLOCK; }

// A pending signal makes poll() answer EINTR where nothing is ready, and a read of a descriptor that blocks would wait.
bool is_ready(int fd, short events) noexcept {
  pollfd asked{fd, events, 0};
  return answer_of(::poll(&asked, 1, 0)) > 0;
}

// True: all of it is done, or there will be no more.
bool advance(partial_io& io, std::int32_t answer) noexcept {
  if (answer <= 0) return true;
  const auto bytes = static_cast<std::uint32_t>(answer);
  io.done += bytes;
  io.request.address = static_cast<const char*>(io.request.address) + bytes;
  io.request.length -= bytes;
  if (io.request.offset != where_it_stands) io.request.offset += bytes;
  return io.request.length == 0;
}

// What came before an end or an error is the answer.
std::int32_t total_of(const partial_io& io, std::int32_t last) noexcept {
  return io.done != 0 ? static_cast<std::int32_t>(io.done) : last;
}

// Datagrams stay what they are: there is no whole of several.
bool is_stream(int fd) noexcept {
  int type = 0;
  socklen_t bytes = sizeof type;
  return answer_of(::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &bytes)) == 0 &&
         (type == SOCK_STREAM || type == SOCK_SEQPACKET);
}

std::int32_t receive(partial_io& io, int flags) noexcept {
  const bool whole = (flags & MSG_WAITALL) != 0 && (flags & MSG_DONTWAIT) == 0 && is_stream(io.request.fd);
  for (;;) {
    const std::int32_t answer = answer_of(
        ::recv(io.request.fd, const_cast<void*>(io.request.address), io.request.length, flags | MSG_DONTWAIT));
    if (would_wait(answer) && (flags & MSG_DONTWAIT) == 0) return not_ready;
    if (!whole) return answer;
    if (advance(io, answer)) return total_of(io, answer);
  }
}

std::int32_t transmit(const io_request& r, int flags) noexcept {
  const std::int32_t answer = answer_of(::send(r.fd, r.address, r.length, flags | MSG_DONTWAIT));
  return would_wait(answer) && (flags & MSG_DONTWAIT) == 0 ? not_ready : answer;
}

// As with io_uring, an offset means nothing where there are no places: ESPIPE is no answer.
ssize_t read_call(const io_request& r) noexcept {
  void* const into = const_cast<void*>(r.address);
  if (r.offset != where_it_stands) {
    const ssize_t got = ::pread(r.fd, into, r.length, static_cast<off_t>(r.offset));
    if (got >= 0 || errno != ESPIPE) return got;
  }
  return ::read(r.fd, into, r.length);
}

ssize_t write_call(const io_request& r) noexcept {
  if (r.offset != where_it_stands) {
    const ssize_t written = ::pwrite(r.fd, r.address, r.length, static_cast<off_t>(r.offset));
    if (written >= 0 || errno != ESPIPE) return written;
  }
  return ::write(r.fd, r.address, r.length);
}

// To a pipe: one that nobody reads is EPIPE, and no signal.
ssize_t write_to_pipe(const io_request& r) noexcept {
  if (can_write_without_sigpipe()) {
    const iovec from{const_cast<void*>(r.address), r.length};
    return ::pwritev2(r.fd, &from, 1, -1, no_sigpipe_flag);
  }
  const thread_signal_block block(SIGPIPE);
  const ssize_t written = ::write(r.fd, r.address, r.length);
  if (written < 0 && errno == EPIPE) block.take();
  return written;
}

// Nobody waits for what would be refused: at a descriptor that is open for the other direction only.
std::int32_t may_become_ready(const io_request& r, int wrong_mode) noexcept {
  const std::int32_t flags = answer_of(::fcntl(r.fd, F_GETFL));
  if (flags < 0) return flags;
  return (flags & O_PATH) != 0 || (flags & O_ACCMODE) == wrong_mode ? -EBADF : not_ready;
}

std::int32_t read_now(partial_io& io) noexcept {
  io_request& r = io.request;
  switch (nature_of(r.fd)) {
    case nature::socket: return socket_takes_offset(r) ? receive(io, 0) : -ESPIPE;
    case nature::disk: {
      // What is in memory already; a file system that cannot tell says EOPNOTSUPP.
      const iovec into{const_cast<void*>(r.address), r.length};
      const auto at = r.offset == where_it_stands ? off_t{-1} : static_cast<off_t>(r.offset);
      const std::int32_t got = answer_of(::preadv2(r.fd, &into, 1, at, RWF_NOWAIT));
      if (got == 0 || (got > 0 && advance(io, got))) return total_of(io, got);
      return needs_a_thread;
    }
    case nature::pipe:
    case nature::other: break;
  }
  if (!is_ready(r.fd, POLLIN)) return may_become_ready(r, O_WRONLY);
  const std::int32_t answer = answer_of(read_call(r));
  return would_wait(answer) ? not_ready : answer;
}

std::int32_t write_now(const io_request& r) noexcept {
  const nature kind = nature_of(r.fd);
  if (kind == nature::socket) return socket_takes_offset(r) ? transmit(r, MSG_NOSIGNAL) : -ESPIPE;
  if (kind == nature::disk) return needs_a_thread;
  if (!is_ready(r.fd, POLLOUT)) return may_become_ready(r, O_RDONLY);
  io_request fits = r;
  // A pipe that is ready has room for so much; more would wait for its reader.
  if (kind == nature::pipe && fits.length > PIPE_BUF) fits.length = PIPE_BUF;
  const std::int32_t answer = answer_of(kind == nature::pipe ? write_to_pipe(fits) : write_call(fits));
  return would_wait(answer) ? not_ready : answer;
}

std::int32_t accept_now(const io_request& r) noexcept {
  if (!is_ready(r.fd, POLLIN)) {
    int listens = 0;
    socklen_t bytes = sizeof listens;
    const std::int32_t asked = answer_of(::getsockopt(r.fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &bytes));
    if (asked == 0 && listens != 0) return not_ready;
    // What does not listen is refused at once.
  }
  // descriptor: of the application, which has it from here on
  const std::int32_t answer = answer_of(::accept4(r.fd, nullptr, nullptr, static_cast<int>(r.flags)));
  return would_wait(answer) ? not_ready : answer;
}

// `done` says that it was begun.
std::int32_t connect_now(partial_io& io) noexcept {
  const io_request& r = io.request;
  if (io.done != 0) {
    if (!is_ready(r.fd, POLLOUT)) return not_ready;
    int why = 0;
    socklen_t bytes = sizeof why;
    const std::int32_t asked = answer_of(::getsockopt(r.fd, SOL_SOCKET, SO_ERROR, &why, &bytes));
    return asked < 0 ? asked : -why;
  }
  // There is no flag for this call: the descriptor is one that does not block for as long as it takes.
  const std::int32_t flags = answer_of(::fcntl(r.fd, F_GETFL));
  if (flags < 0) return flags;
  const bool blocks = (flags & O_NONBLOCK) == 0;
  if (blocks) answer_of(::fcntl(r.fd, F_SETFL, flags | O_NONBLOCK));
  const std::int32_t answer =
      answer_of(::connect(r.fd, static_cast<const sockaddr*>(r.address), static_cast<socklen_t>(r.length)));
  if (blocks) answer_of(::fcntl(r.fd, F_SETFL, flags));
  if (answer == -EINPROGRESS) {
    io.done = 1;
    return not_ready;
  }
  // A local socket whose queue is full: nothing says when it is not any more.
  return would_wait(answer) ? needs_a_thread : answer;
}

std::int32_t poll_now(const io_request& r) noexcept {
  pollfd asked{r.fd, static_cast<short>(r.flags), 0};
  const std::int32_t found = answer_of(::poll(&asked, 1, 0));
  if (found < 0) return found;
  if (found == 0) return not_ready;
  return (asked.revents & POLLNVAL) != 0 ? -EBADF : asked.revents;
}

}  // namespace

nature nature_of(int fd) noexcept {
  struct stat status{};
  if (answer_of(::fstat(fd, &status)) != 0) return nature::other;  // the call itself says what is wrong
  if (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode) || S_ISDIR(status.st_mode)) return nature::disk;
  if (S_ISSOCK(status.st_mode)) return nature::socket;
  return S_ISFIFO(status.st_mode) ? nature::pipe : nature::other;
}

bool can_write_without_sigpipe() noexcept {
  enum : int { unknown, yes, no };
  static constinit std::atomic<int> known{unknown};
  // relaxed: it says what the kernel can do, and nothing of other memory
  int answer = known.load(std::memory_order_relaxed);
  if (answer != unknown) return answer == yes;
  const pipe_ends pipe = make_pipe_ends(O_NONBLOCK);
  if (!pipe.write) return false;  // no descriptor: asked again the next time
  char byte = 0;
  const iovec one{&byte, 1};
  answer = ::pwritev2(pipe.write.get(), &one, 1, -1, no_sigpipe_flag) == 1 ? yes : no;
  known.store(answer, std::memory_order_relaxed);  // relaxed: as above
  return answer == yes;
}

std::int32_t empty_bell(int descriptor) noexcept {
  std::byte nobody_reads_this[4096];
  std::int32_t answer = 0;
  // A pipe may have as much as it holds; an eventfd gives its 8 bytes.
  do {
    answer = answer_of(::read(descriptor, nobody_reads_this, sizeof nobody_reads_this));
  } while (answer == static_cast<std::int32_t>(sizeof nobody_reads_this));
  return answer;
}

std::int32_t do_now(partial_io& io) noexcept {
  const io_request& r = io.request;
  switch (r.code) {
    case io_code::read: return read_now(io);
    case io_code::write: return write_now(r);
    case io_code::recv: return receive(io, static_cast<int>(r.flags));
    case io_code::send: return transmit(r, static_cast<int>(r.flags));
    case io_code::accept: return accept_now(r);
    case io_code::connect: return connect_now(io);
    case io_code::poll: return poll_now(r);
    case io_code::close: return answer_of(::close(r.fd));
    case io_code::open:
    case io_code::fsync:
    case io_code::fdatasync: return needs_a_thread;
    case io_code::bell: return empty_bell(r.fd);
    case io_code::alarm:
    case io_code::futex_wait: break;
  }
  return -EOPNOTSUPP;
}

std::int32_t do_blocking(partial_io& io) noexcept {
  const io_request& r = io.request;
  for (;;) {
    std::int32_t answer = -EOPNOTSUPP;
    bool whole = true;
    switch (r.code) {
      case io_code::read:
        answer = answer_of(read_call(r));
        whole = answer == -EINTR ? false : advance(io, answer);
        break;
      case io_code::write: answer = answer_of(within_file_size_limit([&r] { return write_call(r); })); break;
      case io_code::fsync: answer = answer_of(::fsync(r.fd)); break;
      case io_code::fdatasync: answer = answer_of(::fdatasync(r.fd)); break;
      case io_code::open:
        // descriptor: of the application, which has it from here on
        answer = answer_of(::openat(r.fd, static_cast<const char*>(r.address), static_cast<int>(r.flags), r.length));
        break;
      case io_code::connect:
        answer = answer_of(::connect(r.fd, static_cast<const sockaddr*>(r.address), static_cast<socklen_t>(r.length)));
        break;
      default: break;
    }
    if (whole && answer != -EINTR) return r.code == io_code::read ? total_of(io, answer) : answer;
  }
}

std::uint32_t events_of(const io_request& r) noexcept {
  switch (r.code) {
    case io_code::write:
    case io_code::send:
    case io_code::connect: return EPOLLOUT;
    case io_code::poll: return r.flags;
    default: return EPOLLIN;
  }
}

}  // namespace quoit::inline v1::detail
