#include "carriers.hpp"

#include <sys/socket.h>

#include <bit>

namespace bench {

namespace {

// Room for some messages, as a pipe and a socket have, and no more than what a container's /dev/shm of 64 MiB takes.
// Reliable subscribers only: a message may then be half the ring.
quoit::publisher_options options(std::size_t message_bytes) {
  const std::uint64_t framed = message_bytes + 64;
  const std::uint64_t wanted =
      std::max({std::uint64_t{256} << 10, std::min(8 * framed, std::uint64_t{16} << 20), 3 * framed});
  quoit::publisher_options o;
  o.message_bytes_max = message_bytes;
  o.capacity_bytes = std::bit_ceil(wanted);
  o.lossy_subscribers = false;
  return o;
}

quoit::bus opened(const order& what, bool asks, quoit::transport by) {
  return must("opening the bus",
              quoit::bus::open(what.bus,
                               {.node_name = asks ? "asks" : "answers", .transport = by, .wait = quoit::wait::block}));
}

// On the kernel path a message is one packet: an error says how large one may be.
quoit::publisher<quoit::bytes> publisher_on(quoit::bus& bus, const char* topic, std::size_t message_bytes) {
  auto opened = bus.publisher<quoit::bytes>(topic, options(message_bytes));
  if (!opened && opened.error() == quoit::errc::message_too_large && opened.error().value() > 8)
    opened = bus.publisher<quoit::bytes>(topic, options(static_cast<std::size_t>(opened.error().value()) / 8 * 8));
  return must("opening the publisher", std::move(opened));
}

}  // namespace

bus_end::bus_end(const order& what, bool asks, bool both_ways, quoit::transport by)
    : bus_(opened(what, asks, by)), piece_bytes_(what.payload_bytes) {
  if (asks || both_ways) {
    publisher_.emplace(publisher_on(bus_, asks ? "there" : "back", what.payload_bytes));
    // Whole words, so that each piece is work of the same kind.
    piece_bytes_ = std::min(piece_bytes_, publisher_->message_bytes_max() / 8 * 8);
  }
  if (!asks || both_ways) {
    subscriber_.emplace(
        must("opening the subscriber",
             bus_.subscriber<quoit::bytes>(asks ? "back" : "there",
                                           {.mode = quoit::mode::reliable, .start = quoit::start::earliest})));
  }
  const std::uint64_t end = floors::monotonic_ns() + std::uint64_t{patience / std::chrono::nanoseconds(1)};
  while ((publisher_ && publisher_->subscribers() == 0) || (subscriber_ && subscriber_->publishers() == 0)) {
    if (floors::monotonic_ns() > end) throw std::runtime_error("the other side did not come");
    ::usleep(100);
  }
}

std::size_t through_descriptors::put(std::span<const std::byte> from) {
  for (;;) {
    const ssize_t n =
        sockets_ ? ::send(out_, from.data(), from.size(), MSG_NOSIGNAL) : ::write(out_, from.data(), from.size());
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) throw std::runtime_error(std::string("sending: ") + std::strerror(errno));
  }
}

std::size_t through_descriptors::get(std::span<std::byte> into) {
  for (;;) {
    const ssize_t n = sockets_ ? ::recv(in_, into.data(), into.size(), 0) : ::read(in_, into.data(), into.size());
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0) throw std::runtime_error("receiving: the other side has closed");
    if (errno != EINTR) throw std::runtime_error(std::string("receiving: ") + std::strerror(errno));
  }
}

}  // namespace bench
