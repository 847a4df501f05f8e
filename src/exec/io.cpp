#include "quoit/io.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace quoit::inline v1::detail {

// The header names these without the headers that define them.
static_assert(ECANCELED == 125 && AT_FDCWD == -100 && SOCK_CLOEXEC == 02000000 && MSG_NOSIGNAL == 0x4000);

error io_error(std::int32_t kernel_answer) noexcept {
  if (kernel_answer == forked_answer) return error(errc::forked);
  const int number = -kernel_answer;
  switch (number) {
    case ECANCELED: return error(errc::cancelled);
    case EINTR: return error(errc::cancelled, 0, number);  // what a cancelled wait in a worker of the kernel says
    default: return error(errc::system, 0, number);
  }
}

void drop_answer(const operation& op, const io_request& request) noexcept {
  if (op.now != operation::state::complete) return;
  const bool opens = request.code == io_code::open || request.code == io_code::accept;
  if (opens && op.result >= 0) ::close(op.result);
  // It was in a queue of the kernel when it was given up.
  if (request.code == io_code::close && op.result == -ECANCELED) ::close(request.fd);
}

}  // namespace quoit::inline v1::detail
