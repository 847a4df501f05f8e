// The rows: what each side does. A new row is a class and a line in all_rows().
#include <array>
#include <optional>
#include <quoit.hpp>

#include "row.hpp"

namespace bench {

namespace {

using namespace std::chrono_literals;

[[noreturn]] void fail(const char* doing, const quoit::error& e) {
  throw std::runtime_error(std::string(doing) + ": " + e.message());
}

template <class T>
T must(const char* doing, quoit::result<T> r) {
  if (!r) fail(doing, r.error());
  return std::move(*r);
}

// Messages of a size that is known at compile time go the typed way, all others as bytes.
template <std::size_t Bytes>
struct fixed {
  std::array<unsigned char, Bytes> data;
};

template <class T>
struct traits {
  static quoit::result<quoit::loan<T>> loan(quoit::publisher<T>& p, std::size_t) { return p.try_loan_uninit(); }
};
template <>
struct traits<quoit::bytes> {
  static quoit::result<quoit::loan<quoit::bytes>> loan(quoit::publisher<quoit::bytes>& p, std::size_t n) {
    return p.try_loan_bytes(n);
  }
};

// The same on both sides, and nobody else's.
std::string bus_name(bool asks) { return "bench-" + std::to_string(asks ? ::getpid() : ::getppid()); }

template <class T>
class endpoint : public side {
 public:
  endpoint(const order& what, bool asks, const char* out, const char* in, quoit::wait how)
      : asks_(asks),
        bus_(must("opening the bus",
                  quoit::bus::open(bus_name(asks), {.node_name = asks ? "asks" : "answers", .wait = how}))) {
    quoit::publisher_options options;
    if constexpr (std::same_as<T, quoit::bytes>) options.message_bytes_max = what.payload_bytes;
    if (out != nullptr) publisher_.emplace(must("opening the publisher", open_publisher(out, what, options)));
    if (in != nullptr) {
      subscriber_.emplace(must("opening the subscriber", bus_.template subscriber<T>(in, {.start = quoit::start::earliest})));
    }
    const std::uint64_t end = floors::monotonic_ns() + 10'000'000'000u;
    while ((publisher_ && publisher_->subscribers() == 0) || (subscriber_ && subscriber_->publishers() == 0)) {
      if (floors::monotonic_ns() > end) throw std::runtime_error("the other side did not come");
      ::usleep(100);
    }
    buffer_.resize(what.payload_bytes + 1, 7);
  }

 protected:
  quoit::result<quoit::publisher<T>> open_publisher(const char* topic, const order& what, quoit::publisher_options options) {
    if constexpr (std::same_as<T, quoit::bytes>) {
      // Room for sixteen of the largest.
      std::uint64_t capacity = 128 * 1024;
      while (capacity < (what.payload_bytes + 64) * 32) capacity *= 2;
      options.capacity_bytes = capacity;
    }
    return bus_.template publisher<T>(topic, options);
  }
  void send(const order& what) {
    for (;;) {
      auto loan = traits<T>::loan(*publisher_, what.payload_bytes);
      if (loan) {
        std::memcpy(loan->data().data(), buffer_.data(), what.touch_bytes);
        return std::move(*loan).publish();
      }
      if (loan.error().code() != quoit::errc::would_block) fail("loan", loan.error());
    }
  }
  void copy_out(const order& what, const quoit::sample<T>& sample) {
    std::memcpy(buffer_.data(), sample.data().data(), what.touch_bytes);
    floors::keep(buffer_.data());
  }
  template <bool Blocks>
  quoit::sample<T> receive() {
    for (;;) {
      auto sample = Blocks ? subscriber_->wait(20s) : subscriber_->poll();
      if (!sample) fail("receiving", sample.error());
      if (*sample) return std::move(*sample);
    }
  }

  bool asks_;
  quoit::bus bus_;
  std::optional<quoit::publisher<T>> publisher_;
  std::optional<quoit::subscriber<T>> subscriber_;
  std::vector<unsigned char> buffer_;
};

template <class T, bool Blocks>
class round_trip : public endpoint<T> {
 public:
  round_trip(const order& what, bool asks)
      : endpoint<T>(what, asks, asks ? "there" : "back", asks ? "back" : "there",
                    Blocks ? quoit::wait::block : quoit::wait::spin) {}

  void run(const order& what, histogram* h) override {
    const double interval = what.rate > 0 ? 1e9 / what.rate / floors::ns_per_tick() : 0;
    const std::uint64_t first = floors::ticks();
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      if (this->asks_) {
        std::uint64_t begin = floors::ticks();
        if (interval > 0) {
          // From when it should have been sent: a late one is not forgiven.
          begin = first + static_cast<std::uint64_t>(interval * static_cast<double>(i));
          while (floors::ticks() < begin) {
          }
        }
        this->send(what);
        this->copy_out(what, this->template receive<Blocks>());
        h->record(floors::ticks() - begin);
      } else {
        const auto sample = this->template receive<Blocks>();
        this->copy_out(what, sample);
        this->send(what);
      }
    }
  }
};

// One way. What is recorded is the time of runs of messages, a message's share of it.
template <class T, std::size_t Batch>
class one_way : public endpoint<T> {
 public:
  one_way(const order& what, bool asks)
      : endpoint<T>(what, asks, asks ? "flow" : nullptr, asks ? nullptr : "flow", quoit::wait::spin) {}

  void run(const order& what, histogram* h) override {
    if (this->asks_) {
      publish(what, *h);
    } else {
      take(what);
    }
  }

 private:
  static constexpr std::uint64_t run_messages = 1024;

  void publish(const order& what, histogram& h) {
    for (std::uint64_t done = 0; done < what.turns; done += run_messages) {
      const std::uint64_t begin = floors::ticks();
      if constexpr (Batch == 1) {
        for (std::uint64_t i = 0; i < run_messages; ++i) this->send(what);
      } else {
        static const std::array<T, Batch> messages{};
        for (std::uint64_t i = 0; i < run_messages;) {
          auto sent = this->publisher_->publish_batch(messages);
          if (sent) {
            i += *sent;
          } else if (sent.error().code() != quoit::errc::would_block) {
            fail("publishing", sent.error());
          }
        }
      }
      h.record((floors::ticks() - begin) / run_messages);
    }
  }
  void take(const order& what) {
    std::uint64_t taken = 0;
    while (taken < what.turns) {
      auto batch = this->subscriber_->poll_batch();
      if (!batch) fail("receiving", batch.error());
      for (const auto& message : *batch) {
        std::memcpy(this->buffer_.data(), &message, sizeof message);
        floors::keep(this->buffer_.data());
        ++taken;
      }
    }
  }
};

template <class Side>
std::unique_ptr<side> made(const order& what, bool asks) {
  return std::make_unique<Side>(what, asks);
}

// Picks the type by the payload's size.
template <template <class> class Maker>
std::unique_ptr<side> by_size(const order& what, bool asks) {
  switch (what.payload_bytes) {
    case 8: return Maker<fixed<8>>::make(what, asks);
    case 64: return Maker<fixed<64>>::make(what, asks);
    case 256: return Maker<fixed<256>>::make(what, asks);
    case 1024: return Maker<fixed<1024>>::make(what, asks);
    case 4096: return Maker<fixed<4096>>::make(what, asks);
    case 65536: return Maker<fixed<65536>>::make(what, asks);
    case 1 << 20: return Maker<fixed<1 << 20>>::make(what, asks);
    default: return Maker<quoit::bytes>::make(what, asks);
  }
}

template <class T>
struct polling {
  static std::unique_ptr<side> make(const order& what, bool asks) { return made<round_trip<T, false>>(what, asks); }
};
template <class T>
struct blocking {
  static std::unique_ptr<side> make(const order& what, bool asks) { return made<round_trip<T, true>>(what, asks); }
};
template <class T>
struct flowing {
  static std::unique_ptr<side> make(const order& what, bool asks) { return made<one_way<T, 1>>(what, asks); }
};
template <class T>
struct flowing_in_batches {
  static std::unique_ptr<side> make(const order& what, bool asks) {
    if constexpr (quoit::variable_size<T> || sizeof(T) > 4096) {
      throw std::runtime_error("shm.oneway.batch takes a payload of 8, 64, 256, 1024 or 4096 bytes");
    } else {
      return made<one_way<T, 32>>(what, asks);
    }
  }
};

}  // namespace

std::vector<row_type> all_rows() {
  return {
      {"raw.line", "two words, two processes: the distance between the cores", false, floor_kind::line, 100'000, true, nullptr},
      {"raw.slot", "a copy in, a copy out: the least a message can cost", false, floor_kind::slot, 100'000, true, nullptr},
      {"shm.poll", "round trip through the typed API, polling", false, floor_kind::slot, 50'000, true, by_size<polling>},
      {"raw.futex", "the kernel's wake and nothing else", false, floor_kind::futex, 2'000, false, nullptr},
      {"shm.wait", "round trip, both sides asleep while they wait", false, floor_kind::futex, 2'000, false, by_size<blocking>},
      {"shm.oneway", "one publisher, one subscriber, a publish() a message", true, floor_kind::slot, 1 << 18, true, by_size<flowing>},
      {"shm.oneway.batch", "the same in batches of 32", true, floor_kind::slot, 1 << 18, true, by_size<flowing_in_batches>},
  };
}

}  // namespace bench
