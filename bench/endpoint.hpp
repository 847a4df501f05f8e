// One process of a row that runs through quoit's public API: its bus, publisher and subscriber.
#pragma once

#include <array>
#include <chrono>
#include <optional>
#include <quoit.hpp>
#include <stdexcept>
#include <string>

#include "floors/slot.hpp"
#include "row.hpp"

namespace bench {

// A payload whose size is known at compile time.
template <std::size_t Bytes>
using fixed = std::array<std::byte, Bytes>;

[[noreturn]] inline void fail(const char* doing, const quoit::error& e) {
  throw std::runtime_error(std::string(doing) + ": " + e.message());
}

template <class T>
T must(const char* doing, quoit::result<T> r) {
  if (!r) fail(doing, r.error());
  return std::move(*r);
}

inline constexpr std::chrono::seconds patience{20};

template <class T>
class endpoint : public side {
 public:
  // Topics by name, or null. Returns when the other side is there.
  endpoint(const order& what, bool asks, const char* out, const char* in, quoit::wait how,
           quoit::transport way = quoit::transport::shared_memory)
      : asks_(asks),
        bus_(must("opening the bus",
                  quoit::bus::open(what.bus, {.node_name = asks ? "asks" : "answers", .transport = way, .wait = how}))),
        buffer_(what.payload_bytes, std::byte{7}) {
    if (out != nullptr)
      publisher_.emplace(must("opening the publisher", bus_.template publisher<T>(out, options(what))));
    if (in != nullptr)
      subscriber_.emplace(
          must("opening the subscriber", bus_.template subscriber<T>(in, {.start = quoit::start::earliest})));
    const std::uint64_t end = floors::monotonic_ns() + std::uint64_t{patience / std::chrono::nanoseconds(1)};
    while ((publisher_ && publisher_->subscribers() == 0) || (subscriber_ && subscriber_->publishers() == 0)) {
      if (floors::monotonic_ns() > end) throw std::runtime_error("the other side did not come");
      ::usleep(100);
    }
  }

  std::uint64_t wakes() const override { return publisher_ ? publisher_->wakes() : 0; }

 protected:
  // Calls `loop` with how much of a message is touched: as a constant, where that is all of a size that is known.
  template <class Loop>
  static void with_touched(const order& what, Loop loop) {
    if constexpr (!quoit::variable_size<T>) {
      if (what.touch_bytes == sizeof(T)) return loop(std::integral_constant<std::size_t, sizeof(T)>{});
    }
    loop(static_cast<std::size_t>(what.touch_bytes));
  }

  template <class Size>
  void send(std::size_t payload_bytes, Size touched) {
    for (;;) {
      auto loan = [&] {
        if constexpr (quoit::variable_size<T>)
          return publisher_->try_loan_bytes(payload_bytes);
        else
          return publisher_->try_loan_uninit();
      }();
      if (loan) [[likely]] {
        std::memcpy(loan->data().data(), buffer_.data(), touched);
        return std::move(*loan).publish();
      }
      if (loan.error().code() != quoit::errc::would_block) fail("taking a loan", loan.error());
    }
  }
  // Calls `then` with the next message, which is given back afterwards.
  template <bool Blocks, class Then>
  void receive(Then then) {
    for (;;) {
      auto sample = Blocks ? subscriber_->wait(patience) : subscriber_->poll();
      if (!sample) [[unlikely]]
        fail("receiving", sample.error());
      if (*sample) return then(*sample);
    }
  }
  template <class Size>
  void copy_out(const quoit::sample<T>& sample, Size touched) {
    std::memcpy(buffer_.data(), sample.data().data(), touched);
    floors::keep(buffer_.data());
  }

  bool asks_;
  quoit::bus bus_;
  std::optional<quoit::publisher<T>> publisher_;
  std::optional<quoit::subscriber<T>> subscriber_;
  std::vector<std::byte> buffer_;

 private:
  // What a user gets who chooses nothing; only bytes have to be given room.
  static quoit::publisher_options options(const order& what) {
    quoit::publisher_options o;
    if constexpr (quoit::variable_size<T>) {
      o.message_bytes_max = what.payload_bytes;
      for (o.capacity_bytes = 128 * 1024; o.capacity_bytes < (what.payload_bytes + 64) * 32;) o.capacity_bytes *= 2;
    }
    return o;
  }
};

}  // namespace bench
