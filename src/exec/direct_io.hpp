// Requests as plain system calls: what can be done at once is done, and nothing here waits for another process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quoit/detail/exec/operation.hpp"

namespace quoit::inline v1::detail {

// No answer yet: whoever asks again does so when the descriptor is ready.
inline constexpr std::int32_t not_ready = INT32_MIN;
// It may wait for a disk, or for what nothing polls for: a thread that may wait does it.
inline constexpr std::int32_t needs_a_thread = INT32_MIN + 1;

// What a descriptor is, as far as it matters how it is waited for.
enum class nature : std::uint8_t { disk, socket, pipe, other };
nature nature_of(int fd) noexcept;

// True if the kernel can be told to send no SIGPIPE for a write (RWF_NOSIGNAL, Linux 6.18).
inline constexpr int no_sigpipe_flag = 0x100;
bool can_write_without_sigpipe() noexcept;

// The offset of a request that means the position of the file itself (quoit::current_position).
inline constexpr std::uint64_t where_it_stands = ~std::uint64_t{0};
// The kernel refuses any other offset of a socket.
inline bool socket_takes_offset(const io_request& r) noexcept { return r.offset == where_it_stands || r.offset == 0; }

// A request, and how far it has come: a MSG_WAITALL, or a file that was only in part in memory.
struct partial_io {
  io_request request{};
  std::uint32_t done = 0;
};

// The kernel's answer (at least 0, or -errno), or one of the two above. Of the descriptor as it is: it may block, and
// is not made to do otherwise, as other processes may share it. So of those that wait for one connection or one byte
// at a blocking descriptor, one may find that another was faster, and block: give those O_NONBLOCK.
std::int32_t do_now(partial_io& io) noexcept;

// Takes what was written to a bell that does not block, so that the next ring is heard. As read(2) answers.
std::int32_t empty_bell(int descriptor) noexcept;

// The same to its end, on a thread that may wait.
std::int32_t do_blocking(partial_io& io) noexcept;

// What to wait for before do_now() is asked again: EPOLLIN, EPOLLOUT.
std::uint32_t events_of(const io_request& request) noexcept;

}  // namespace quoit::inline v1::detail
