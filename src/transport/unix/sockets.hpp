// Packets over SOCK_SEQPACKET: each is sent whole or not at all, and arrives whole.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "base/fork_guard.hpp"
#include "quoit/detail/lane_layout.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

// Binds a socket at `path`, which is not there, and listens. Errors: limit_reached, no_permission, system.
result<guarded_fd> listen_at(const std::string& path);
// Errors: not_found (nobody is there), busy (its queue is full), limit_reached, no_permission (of another user),
// system.
result<guarded_fd> connect_to(const std::string& path);
// The next who connects; without a descriptor if there is none. Errors: limit_reached, system.
result<guarded_fd> accept_from(int listener);

// The largest packet that fits into the socket once it was asked to take packets of `wanted` bytes.
std::size_t packet_bytes_max(int socket, std::size_t wanted) noexcept;

enum class packet : u8 { done, would_block, gone };
packet send_packet(int socket, const void* head, std::size_t head_bytes, const void* body,
                   std::size_t body_bytes) noexcept;
// `bytes`: of the packet, also if it was longer than both parts; `cut`: it was.
packet receive_packet(int socket, void* head, std::size_t head_bytes, void* body, std::size_t body_bytes,
                      std::size_t& bytes, bool& cut) noexcept;
// How long the next packet is, without taking it.
packet look_at_packet(int socket, std::size_t& bytes) noexcept;
// False: the other side has closed, and everything that it sent was taken.
bool is_connected(int socket) noexcept;
// True: there is something to read, or the end.
bool wait_for_packet(int socket, std::chrono::nanoseconds timeout) noexcept;

error descriptor_error(const std::string& doing, int why);

}  // namespace quoit::inline v1::detail
