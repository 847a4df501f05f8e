// The rows: what each side does. A new one is a class, and an entry in all_rows().
#include "endpoint.hpp"
#include "rows_executor.hpp"
#include "schedule.hpp"

namespace bench {

namespace {

template <class T, bool Blocks, quoit::transport Way = quoit::transport::shared_memory>
class round_trip : public endpoint<T> {
 public:
  round_trip(const order& what, bool asks)
      : endpoint<T>(what, asks, asks ? "there" : "back", asks ? "back" : "there",
                    Blocks ? quoit::wait::block : quoit::wait::spin, Way) {}

  void run(const order& what, histogram* h) override {
    this->with_touched(what, [&](auto touched) { this->asks_ ? ask(what, touched, *h) : answer(what, touched); });
  }

 private:
  template <class Size>
  void ask(const order& what, Size touched, histogram& h) {
    schedule_.go_on(what);
    const schedule due = schedule_;
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      const std::uint64_t begin = due.wait_for(what.first_turn + i);
      this->send(what.payload_bytes, touched);
      this->template receive<Blocks>([&](const auto& sample) { this->copy_out(sample, touched); });
      h.record(floors::ticks() - begin);
    }
  }
  template <class Size>
  void answer(const order& what, Size touched) {
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      this->template receive<Blocks>([&](const auto& sample) {
        this->copy_out(sample, touched);
        this->send(what.payload_bytes, touched);
      });
    }
  }

  schedule schedule_;
};

// What is recorded is the time of runs of messages, a message's share of it.
template <class T, std::size_t Batch>
class one_way : public endpoint<T> {
 public:
  one_way(const order& what, bool asks)
      : endpoint<T>(what, asks, asks ? "flow" : nullptr, asks ? nullptr : "flow", quoit::wait::spin),
        messages_(asks && !quoit::variable_size<T> ? Batch : 0) {}

  void run(const order& what, histogram* h) override {
    this->with_touched(what, [&](auto touched) { this->asks_ ? publish(what, touched, *h) : take(what, touched); });
  }

 private:
  static constexpr std::uint64_t run_messages = 1024;

  template <class Size>
  void publish(const order& what, Size touched, histogram& h) {
    for (std::uint64_t done = 0; done < what.turns;) {
      const std::uint64_t now = std::min(run_messages, what.turns - done);
      const std::uint64_t begin = floors::ticks();
      for (std::uint64_t i = 0; i < now;) i += publish_some(what, touched, now - i);
      h.record((floors::ticks() - begin) / now);
      done += now;
    }
  }
  template <class Size>
  std::uint64_t publish_some(const order& what, Size touched, [[maybe_unused]] std::uint64_t left) {
    if constexpr (Batch > 1) {
      const auto sent =
          this->publisher_->publish_batch(std::span(messages_.data(), std::min<std::uint64_t>(Batch, left)));
      if (sent) [[likely]]
        return *sent;
      if (sent.error().code() != quoit::errc::would_block) fail("publishing", sent.error());
      return 0;
    } else if constexpr (!quoit::variable_size<T>) {
      if (touched == sizeof(T)) {
        const auto sent = this->publisher_->publish(messages_[0]);
        if (sent) [[likely]]
          return 1;
        if (sent.error().code() != quoit::errc::would_block) fail("publishing", sent.error());
        return 0;
      }
    }
    this->send(what.payload_bytes, touched);
    return 1;
  }
  template <class Size>
  void take(const order& what, Size touched) {
    for (std::uint64_t taken = 0; taken < what.turns;) {
      auto batch = this->subscriber_->poll_batch();
      if (!batch) [[unlikely]]
        fail("receiving", batch.error());
      for (const auto& message : *batch) {
        std::memcpy(this->buffer_.data(), message.data(), touched);
        floors::keep(this->buffer_.data());
        ++taken;
      }
    }
  }

  std::vector<T> messages_;
};

template <class Side>
std::unique_ptr<side> made(const order& what, bool asks) {
  return std::make_unique<Side>(what, asks);
}

// Messages of the usual sizes go the typed way, all others as bytes.
template <template <class> class Row>
std::unique_ptr<side> by_size(const order& what, bool asks) {
  switch (what.payload_bytes) {
    case 8: return made<Row<fixed<8>>>(what, asks);
    case 64: return made<Row<fixed<64>>>(what, asks);
    case 256: return made<Row<fixed<256>>>(what, asks);
    case 1024: return made<Row<fixed<1024>>>(what, asks);
    case 4096: return made<Row<fixed<4096>>>(what, asks);
    case 65536: return made<Row<fixed<65536>>>(what, asks);
    case 1 << 20: return made<Row<fixed<1 << 20>>>(what, asks);
    default: return made<Row<quoit::bytes>>(what, asks);
  }
}

template <class T>
using polling = round_trip<T, false>;
template <class T>
using blocking = round_trip<T, true>;
template <class T>
using through_kernel = round_trip<T, true, quoit::transport::kernel>;
template <class T>
using single = one_way<T, 1>;

std::unique_ptr<side> batches(const order& what, bool asks) {
  switch (what.payload_bytes) {
    case 8: return made<one_way<fixed<8>, 32>>(what, asks);
    case 64: return made<one_way<fixed<64>, 32>>(what, asks);
    case 256: return made<one_way<fixed<256>, 32>>(what, asks);
    case 1024: return made<one_way<fixed<1024>, 32>>(what, asks);
    default: throw std::runtime_error("shm.oneway.batch takes a payload of 8, 64, 256 or 1024 bytes");
  }
}

}  // namespace

const std::vector<row_type>& all_rows() {
  static const std::vector<row_type> rows = [] {
    std::vector<row_type> all{
        {.name = "raw.line",
         .shows = "two words, two processes: the distance between the cores",
         .floor = floor_kind::line,
         .turns = 50'000,
         .payload_bytes = 8,
         .payload_fixed = true},
        {.name = "raw.slot", .shows = "a copy in, a copy out: the least a message can cost", .turns = 50'000},
        {.name = "shm.poll",
         .shows = "round trip through the typed API, polling",
         .turns = 50'000,
         .make = by_size<polling>},
        {.name = "shm.loan",
         .shows = "the same with a loan of 1 MiB, of which 8 bytes are touched",
         .turns = 50'000,
         .payload_bytes = 1 << 20,
         .touch_bytes = 8,
         .make = by_size<polling>},
        {.name = "raw.futex",
         .shows = "the kernel's wait and wake, and nothing else",
         .polls = false,
         .floor = floor_kind::futex,
         .turns = 1'000,
         .payload_bytes = 4,
         .payload_fixed = true},
        {.name = "raw.futex.timed",
         .shows = "the same, each wait with a timeout that is never over",
         .polls = false,
         .floor = floor_kind::futex_timed,
         .turns = 1'000,
         .payload_bytes = 4,
         .payload_fixed = true},
        {.name = "raw.futex.ring",
         .shows = "as raw.futex, each side waiting in io_uring",
         .polls = false,
         .floor = floor_kind::futex_ring,
         .turns = 1'000,
         .payload_bytes = 4,
         .payload_fixed = true},
        {.name = "raw.pipe.ring",
         .shows = "a byte through a pipe, each side waiting in io_uring until its pipe is readable",
         .polls = false,
         .floor = floor_kind::pipe_ring,
         .turns = 1'000,
         .payload_bytes = 1,
         .payload_fixed = true},
        {.name = "raw.pipe.epoll",
         .shows = "the same, each side waiting in epoll",
         .polls = false,
         .floor = floor_kind::pipe_epoll,
         .turns = 1'000,
         .payload_bytes = 1,
         .payload_fixed = true},
        {.name = "shm.wait",
         .shows = "round trip through the typed API, both sides asleep while they wait",
         .polls = false,
         .floor = floor_kind::futex,
         .turns = 1'000,
         .make = by_size<blocking>},
        {.name = "raw.seqpacket",
         .shows = "packets there and back through a socket, and nothing else",
         .polls = false,
         .floor = floor_kind::seqpacket,
         .turns = 1'000},
        {.name = "kernel.wait",
         .shows = "shm.wait through the kernel path",
         .polls = false,
         .floor = floor_kind::seqpacket,
         .turns = 1'000,
         .make = by_size<through_kernel>},
        {.name = "shm.oneway",
         .shows = "one publisher, one subscriber, a publish() for each message",
         .one_way = true,
         .turns = 1 << 18,
         .make = by_size<single>},
        {.name = "shm.oneway.batch",
         .shows = "the same in batches of 32",
         .one_way = true,
         .turns = 1 << 18,
         .make = batches},
    };
    for (const row_type& r : coroutine_rows()) all.push_back(r);
    for (const row_type& r : executor_rows()) all.push_back(r);
    return all;
  }();
  return rows;
}

}  // namespace bench
