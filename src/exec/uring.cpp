#include "exec/uring.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "base/call_failed.hpp"

namespace quoit::inline v1::detail {

namespace {

// Of kernels newer than the liburing that this is built with.
constexpr std::uint8_t futex_wait_code = 51;
constexpr std::uint64_t futex_any_bit = 0xffffffff;
constexpr int futex_size_u32 = 0x02;

struct rung {
  unsigned flags;
  const char* name;
};
constexpr rung ladder[] = {
    {IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
         IORING_SETUP_R_DISABLED,
     "io_uring, deferred completions"},
    {IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     "io_uring, cooperative completions"},
    {0, "io_uring"},
};

error refused(const char* call, int number) {
  const std::string kernel = std::string(call) + ": " + std::strerror(number);
  switch (number) {
    case EPERM:
    case EACCES:
      return error(errc::no_permission,
                   kernel + "; a container's filter or the sysctl kernel.io_uring_disabled forbids io_uring", 0,
                   number);
    case ENOSYS: return error(errc::system, kernel + "; this kernel has no io_uring, or a filter hides it", 0, number);
    case EMFILE:
    case ENFILE: return error(errc::limit_reached, kernel + "; raise the limit of open files", 0, number);
    case ENOMEM:
      return error(errc::no_space, kernel + "; on kernels before 5.12, raise the limit of locked memory", 0, number);
    default: return error(errc::system, kernel, 0, number);
  }
}

}  // namespace

result<void> uring::open(uring& out, std::uint32_t entries) {
  const low_numbers_taken guard;
  int status = -EINVAL;
  io_uring_params params{};
  for (const rung& r : ladder) {
    params = {};
    params.flags = r.flags;
    // descriptor: it gets its owner when the ladder is done
    status = io_uring_queue_init_params(entries, &out.ring_, &params);
    if (status == 0) {
      out.open_ = true;
      out.disabled_ = (r.flags & IORING_SETUP_R_DISABLED) != 0;
      out.rung_ = r.name;
      break;
    }
    // A flag that this kernel does not know.
    if (status != -EINVAL) break;
  }
  if (status != 0) return tl::unexpected(refused("io_uring_setup", -status));
  out.descriptor_ = fd(out.ring_.ring_fd);
  const int why = errno;
  out.ring_.ring_fd = out.ring_.enter_ring_fd = out.descriptor_.get();
  if (!out.descriptor_) {
    io_uring_queue_exit(&out.ring_);
    out.open_ = false;
    return tl::unexpected(refused("io_uring_setup", why));
  }
  // A child would take completions of its parent, and queue requests for it.
  if (const int number = io_uring_ring_dontfork(&out.ring_); number < 0) {
    out.close();
    return tl::unexpected(refused("madvise of a ring", -number));
  }
  auto ok = out.look_closer(params.features);
  if (!ok) out.close();
  return ok;
}

// A filter may allow to make a ring and forbid to use it.
result<void> uring::look_closer(std::uint32_t features) {
  // Without the first a wait with a timeout is a request among the others; without the second completions are lost.
  if ((features & IORING_FEAT_EXT_ARG) == 0 || (features & IORING_FEAT_NODROP) == 0) {
    return tl::unexpected(error(errc::system, "io_uring of this kernel is too old: Linux 5.11 and later will do"));
  }
  // A ring that is not enabled yet is in no state to be entered, and that is the answer then.
  const int entered = io_uring_enter(ring_.ring_fd, 0, 0, 0, nullptr);
  if (entered < 0 && entered != -EBADFD) return tl::unexpected(refused("io_uring_enter", -entered));
  constexpr unsigned codes = 256;
  alignas(io_uring_probe) std::byte answer[sizeof(io_uring_probe) + codes * sizeof(io_uring_probe_op)] = {};
  auto* const probe = reinterpret_cast<io_uring_probe*>(answer);
  const int probed = io_uring_register_probe(&ring_, probe, codes);
  if (probed < 0) return tl::unexpected(refused("io_uring_register", -probed));
  futexes_ = io_uring_opcode_supported(probe, futex_wait_code) != 0;
  return {};
}

void uring::close() noexcept {
  if (!std::exchange(open_, false)) return;
  // In a forked child the rings are not mapped, and what is there now may be something else.
  if (!descriptor_) return;
  static_cast<void>(descriptor_.release());
  io_uring_queue_exit(&ring_);
}

int uring::enable() noexcept {
  // Debian's liburing.so 2.3 does not export io_uring_enable_rings().
  if (disabled_) {
    // It answers with the error, and leaves `errno` alone.
    const int status = io_uring_register(ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    if (status < 0) return -status;
  }
  disabled_ = false;
  // A shortcut of 5.18 and later, of this thread; where there is none, the descriptor serves.
  io_uring_register_ring_fd(&ring_);
  return 0;
}

result<int> uring::descriptor() {
  if (answers_) return answers_.get();
  fd made = make_eventfd(EFD_NONBLOCK);
  int number = made ? 0 : errno;
  if (made) number = -io_uring_register_eventfd(&ring_, made.get());
  if (number != 0) return tl::unexpected(call_failed("an eventfd for io_uring", number));
  answers_ = std::move(made);
  return answers_.get();
}

void uring::acknowledge() noexcept {
  if (!answers_) return;
  std::uint64_t times = 0;
  [[maybe_unused]] const auto taken = ::read(answers_.get(), &times, sizeof times);
}

io_uring_sqe* uring::entry() noexcept {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe != nullptr) return sqe;
  submit();
  return io_uring_get_sqe(&ring_);
}

bool uring::prepare(const io_request& r, operation& op) noexcept {
  op.in_queue = nullptr;
  if (r.code == io_code::write) return prepare_write(r, op) != nullptr;
  io_uring_sqe* const sqe = entry();
  if (sqe == nullptr) return false;
  void* const address = const_cast<void*>(r.address);
  switch (r.code) {
    case io_code::bell: io_uring_prep_read(sqe, r.fd, address, r.length, ~std::uint64_t{0}); break;
    case io_code::read: io_uring_prep_read(sqe, r.fd, address, r.length, r.offset); break;
    case io_code::write: break;  // above
    case io_code::fsync: io_uring_prep_fsync(sqe, r.fd, 0); break;
    case io_code::fdatasync: io_uring_prep_fsync(sqe, r.fd, IORING_FSYNC_DATASYNC); break;
    case io_code::open:
      io_uring_prep_openat(sqe, r.fd, static_cast<const char*>(address), static_cast<int>(r.flags), r.length);
      break;
    case io_code::close: io_uring_prep_close(sqe, r.fd); break;
    case io_code::accept: io_uring_prep_accept(sqe, r.fd, nullptr, nullptr, static_cast<int>(r.flags)); break;
    case io_code::connect:
      io_uring_prep_connect(sqe, r.fd, static_cast<const sockaddr*>(address), static_cast<socklen_t>(r.length));
      break;
    case io_code::send: io_uring_prep_send(sqe, r.fd, address, r.length, static_cast<int>(r.flags)); break;
    case io_code::recv: io_uring_prep_recv(sqe, r.fd, address, r.length, static_cast<int>(r.flags)); break;
    case io_code::poll: io_uring_prep_poll_add(sqe, r.fd, r.flags); break;
    case io_code::alarm:
      io_uring_prep_timeout(sqe, static_cast<__kernel_timespec*>(address), 0, IORING_TIMEOUT_ABS);
      break;
    case io_code::futex_wait:
      // liburing 2.3 knows no futexes: the fields as the kernel reads them.
      std::memset(sqe, 0, sizeof *sqe);
      sqe->opcode = futex_wait_code;
      sqe->fd = futex_size_u32;
      sqe->addr = reinterpret_cast<std::uintptr_t>(address);
      sqe->off = r.offset;
      sqe->addr3 = futex_any_bit;
      break;
  }
  io_uring_sqe_set_data(sqe, &op);
  return true;
}

// A peer that is gone is EPIPE, and a file that may not become larger EFBIG; neither is a signal.
io_uring_sqe* uring::prepare_write(const io_request& r, operation& op) noexcept {
  const bool has_flag = can_write_without_sigpipe();
  const nature kind = has_flag ? nature::other : nature_of(r.fd);
  // The end that is only read would never have room.
  if (kind == nature::pipe && (::fcntl(r.fd, F_GETFL) & O_ACCMODE) != O_RDONLY) {
    auto* const w = new (std::nothrow) pipe_write{&op, {r, 0}};
    io_uring_sqe* const waits = w != nullptr ? wait_for_room(*w) : nullptr;
    if (waits == nullptr) delete w;
    if (waits != nullptr) op.in_queue = w;
    return waits;
  }
  io_uring_sqe* const sqe = entry();
  if (sqe == nullptr) return nullptr;
  void* const address = const_cast<void*>(r.address);
  if (kind == nature::socket && socket_takes_offset(r)) {
    io_uring_prep_send(sqe, r.fd, address, r.length, MSG_NOSIGNAL);
  } else {
    io_uring_prep_write(sqe, r.fd, address, r.length, r.offset);
    if (has_flag) sqe->rw_flags = no_sigpipe_flag;
    // SIGXFSZ goes to the thread that writes: a worker of the kernel, which has all signals blocked.
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY) sqe->flags |= IOSQE_ASYNC;
  }
  io_uring_sqe_set_data(sqe, &op);
  return sqe;
}

io_uring_sqe* uring::wait_for_room(pipe_write& w) noexcept {
  io_uring_sqe* const sqe = entry();
  if (sqe == nullptr) return nullptr;
  io_uring_prep_poll_add(sqe, w.io.request.fd, POLLOUT);
  sqe->user_data = reinterpret_cast<std::uintptr_t>(&w) | of_pipe_write;
  return sqe;
}

// There is room, or there will be none. The operation that is over, with its answer; or none: it waits again.
operation* uring::go_on(pipe_write& w, std::int32_t& answer) noexcept {
  if (answer >= 0) answer = do_now(w.io);
  if (answer == not_ready) {
    if (wait_for_room(w) != nullptr) return nullptr;
    answer = -EAGAIN;
  }
  operation* const op = w.op;
  delete &w;
  return op;
}

bool uring::prepare_cancel(const operation& op) noexcept {
  io_uring_sqe* const sqe = entry();
  if (sqe == nullptr) return false;
  const auto of = reinterpret_cast<std::uintptr_t>(op.in_queue);
  const std::uintptr_t tag = of != 0 ? of | of_pipe_write : reinterpret_cast<std::uintptr_t>(&op);
  io_uring_prep_cancel(sqe, reinterpret_cast<void*>(tag), 0);
  io_uring_sqe_set_data(sqe, nullptr);
  return true;
}

void uring::submit_and_wait(std::int64_t timeout_ns) noexcept {
  count_enter();
  if (timeout_ns < 0) {
    io_uring_submit_and_wait(&ring_, 1);
    return;
  }
  __kernel_timespec timeout{timeout_ns / 1'000'000'000, timeout_ns % 1'000'000'000};
  io_uring_cqe* first = nullptr;
  io_uring_submit_and_wait_timeout(&ring_, &first, 1, &timeout, nullptr);
}

}  // namespace quoit::inline v1::detail
