// How a message gets across: what both sides of each way call for it. send() calls `fill(span, offset)` for the bytes
// of the message where they are to be produced, receive() calls `use(span, offset)` where they are to be consumed; both
// in one piece or in several that follow each other. Each counts the copies that it makes itself. What fails is thrown
// as std::runtime_error.
#pragma once

#include <optional>
#include <quoit.hpp>
#include <span>
#include <stdexcept>
#include <vector>

#include "../endpoint.hpp"

namespace bench {

// Copies that the measuring code makes itself.
struct copies {
  std::uint64_t times = 0;
  std::uint64_t bytes = 0;
};

// One side of a bus. Both asking and answering side publish, or only the asking one.
class bus_end {
 public:
  bus_end(const order& what, bool asks, bool both_ways, quoit::transport by);

  // The largest piece of a message: all of it, but on the kernel path, where a message is one packet.
  std::size_t piece_bytes() const { return piece_bytes_; }
  std::uint64_t wakes() const { return publisher_ ? publisher_->wakes() : 0; }

  template <bool Polls>
  quoit::loan<quoit::bytes> loan(std::size_t bytes) {
    for (;;) {
      auto loan = Polls ? publisher_->try_loan_bytes(bytes) : publisher_->loan_bytes_for(bytes, patience);
      if (loan) [[likely]]
        return std::move(*loan);
      if (!Polls || loan.error().code() != quoit::errc::would_block) fail("taking a loan", loan.error());
    }
  }
  template <bool Polls>
  quoit::sample<quoit::bytes> next() {
    for (;;) {
      auto sample = Polls ? subscriber_->poll() : subscriber_->wait(patience);
      if (!sample) [[unlikely]]
        fail("receiving", sample.error());
      if (*sample) return std::move(*sample);
    }
  }

 private:
  quoit::bus bus_;
  std::optional<quoit::publisher<quoit::bytes>> publisher_;
  std::optional<quoit::subscriber<quoit::bytes>> subscriber_;
  std::size_t piece_bytes_;
};

// Produced in the loan, consumed in the sample.
template <bool Polls>
class in_place {
 public:
  explicit in_place(bus_end& bus) : bus_(bus) {}

  template <class Fill>
  void send(std::size_t bytes, Fill fill) {
    for (std::size_t done = 0; done < bytes;) {
      const std::size_t n = std::min(bytes - done, bus_.piece_bytes());
      auto loan = bus_.loan<Polls>(n);
      fill(loan.data(), done);
      std::move(loan).publish();
      done += n;
    }
  }
  template <class Use>
  void receive(std::size_t bytes, Use use) {
    for (std::size_t done = 0; done < bytes;) {
      const auto sample = bus_.next<Polls>();
      use(std::span<const std::byte>(sample.data()), done);
      done += sample.data().size();
    }
  }
  copies copied() const { return {}; }

 private:
  bus_end& bus_;
};

// Produced and consumed in a buffer of one's own.
template <bool Polls>
class copied_over {
 public:
  copied_over(bus_end& bus, std::size_t bytes) : bus_(bus), buffer_(bytes) {}

  template <class Fill>
  void send(std::size_t bytes, Fill fill) {
    const std::span<std::byte> mine = std::span(buffer_).first(bytes);
    fill(mine, 0);
    auto loan = bus_.loan<Polls>(bytes);
    copy(loan.data().data(), mine.data(), bytes);
    std::move(loan).publish();
  }
  template <class Use>
  void receive(std::size_t bytes, Use use) {
    const std::span<std::byte> mine = std::span(buffer_).first(bytes);
    {
      const auto sample = bus_.next<Polls>();
      if (sample.data().size() != bytes) throw std::runtime_error("a message of another size");
      copy(mine.data(), sample.data().data(), bytes);
    }
    use(std::span<const std::byte>(mine), 0);
  }
  copies copied() const { return copied_; }

 private:
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) {
    std::memcpy(to, from, bytes);
    floors::keep(to);
    ++copied_.times;
    copied_.bytes += bytes;
  }

  bus_end& bus_;
  std::vector<std::byte> buffer_;
  copies copied_;
};

// Through descriptors that block: a pipe by write(2) and read(2), a stream socket by send(2) and recv(2).
class through_descriptors {
 public:
  // `as_it_comes`: what one call receives is used before the next one, for who needs no whole message.
  through_descriptors(int out, int in, bool sockets, bool as_it_comes, std::size_t bytes)
      : out_(out), in_(in), sockets_(sockets), as_it_comes_(as_it_comes), buffer_(bytes) {}

  template <class Fill>
  void send(std::size_t bytes, Fill fill) {
    const std::span<std::byte> mine = std::span(buffer_).first(bytes);
    fill(mine, 0);
    for (std::size_t done = 0; done < bytes;) done += put(mine.subspan(done));
  }
  template <class Use>
  void receive(std::size_t bytes, Use use) {
    const std::span<std::byte> mine = std::span(buffer_).first(bytes);
    for (std::size_t done = 0; done < bytes;) {
      const std::size_t got = get(mine.subspan(done));
      if (as_it_comes_) use(std::span<const std::byte>(mine.subspan(done, got)), done);
      done += got;
    }
    if (!as_it_comes_) use(std::span<const std::byte>(mine), 0);
  }
  copies copied() const { return {}; }

 private:
  std::size_t put(std::span<const std::byte> from);
  std::size_t get(std::span<std::byte> into);

  int out_;
  int in_;
  bool sockets_;
  bool as_it_comes_;
  std::vector<std::byte> buffer_;
};

}  // namespace bench
