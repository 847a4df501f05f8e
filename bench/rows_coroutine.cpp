// Rows of coroutines that wait for messages.
#include "crowd.hpp"
#include "endpoint.hpp"
#include "rows_executor.hpp"
#include "schedule.hpp"

namespace bench {

namespace {

template <class T, quoit::wait How, bool Crowded, quoit::transport Way>
class awaiting : public endpoint<T> {
 public:
  awaiting(const order& what, bool asks)
      : endpoint<T>(what, asks, asks ? "there" : "back", asks ? "back" : "there", How, Way),
        executor_(executor_that(How)) {
    if (Crowded) crowd_.await(this->bus_, executor_, asks);
  }
  std::uint64_t enters() const override { return executor_.system_calls(); }

  void run(const order& what, histogram* h) override {
    this->with_touched(what, [&](auto touched) {
      if (this->asks_) {
        executor_.run(ask(what, touched, *h));
      } else {
        executor_.run(answer(what, touched));
      }
    });
  }

 private:
  template <class Size>
  quoit::task<> ask(const order& what, Size touched, histogram& h) {
    schedule_.go_on(what);
    const schedule due = schedule_;
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      const std::uint64_t begin = due.wait_for(what.first_turn + i);
      this->send(what.payload_bytes, touched);
      const auto sample = co_await this->subscriber_->next();
      if (!sample) fail("receiving", sample.error());
      this->copy_out(*sample, touched);
      h.record(floors::ticks() - begin);
    }
  }
  template <class Size>
  quoit::task<> answer(const order& what, Size touched) {
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      const auto sample = co_await this->subscriber_->next();
      if (!sample) fail("receiving", sample.error());
      this->copy_out(*sample, touched);
      this->send(what.payload_bytes, touched);
    }
  }

  crowd crowd_;
  quoit::executor executor_;
  schedule schedule_;
};

template <quoit::wait How, bool Crowded = false, quoit::transport Way = quoit::transport::shared_memory>
std::unique_ptr<side> by_size(const order& what, bool asks) {
  switch (what.payload_bytes) {
    case 8: return std::make_unique<awaiting<fixed<8>, How, Crowded, Way>>(what, asks);
    case 64: return std::make_unique<awaiting<fixed<64>, How, Crowded, Way>>(what, asks);
    case 1024: return std::make_unique<awaiting<fixed<1024>, How, Crowded, Way>>(what, asks);
    default: return std::make_unique<awaiting<quoit::bytes, How, Crowded, Way>>(what, asks);
  }
}

// What idle subscriptions cost by themselves: the CPU time of a second, of the side that asks. The other one wakes it
// at the end of each turn.
class idling : public side {
 public:
  idling(const order& what, bool asks)
      : bus_(must("opening the bus", quoit::bus::open(what.bus, {.node_name = asks ? "idles" : "wakes"}))),
        executor_(executor_that(quoit::wait::adaptive)),
        asks_(asks) {
    if (asks) crowd_.await(bus_, executor_, asks);
  }
  std::uint64_t enters() const override { return executor_.system_calls(); }

  void run(const order& what, histogram* h) override {
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      if (asks_) {
        const std::uint64_t begin = cpu_ns();
        executor_.run(told(what.socket));
        const auto used = static_cast<double>(cpu_ns() - begin);
        h->record(static_cast<std::uint64_t>(used * turns_a_second / floors::ns_per_tick()));
      } else {
        ::usleep(1'000'000 / turns_a_second);
        tell(what.socket);
      }
    }
  }

 private:
  static constexpr unsigned turns_a_second = 4;

  static std::uint64_t cpu_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
  }
  static quoit::task<> told(int socket) {
    std::byte word{};
    const auto got = co_await quoit::recv(socket, std::span(&word, 1));
    if (!got) fail("receiving", got.error());
  }

  quoit::bus bus_;
  crowd crowd_;
  quoit::executor executor_;
  bool asks_;
};

std::unique_ptr<side> idles(const order& what, bool asks) { return std::make_unique<idling>(what, asks); }

}  // namespace

std::vector<row_type> coroutine_rows() {
  return {
      {.name = "shm.coroutine.spin",
       .shows = "round trip through co_await, both executors spinning",
       .turns = 50'000,
       .make = by_size<quoit::wait::spin>},
      {.name = "shm.coroutine.idle",
       .shows = "the same, with 10,000 idle subscriptions awaited beside it on each side",
       .turns = 50'000,
       .make = by_size<quoit::wait::spin, true>},
      {.name = "shm.coroutine.adaptive",
       .shows = "as shm.coroutine.spin, spinning as long as that pays",
       .turns = 50'000,
       .make = by_size<quoit::wait::adaptive>},
      {.name = "shm.coroutine.block",
       .shows = "the same, asleep in the kernel while they wait",
       .polls = false,
       .floor = floor_kind::futex,
       .turns = 1'000,
       .make = by_size<quoit::wait::block>},
      {.name = "kernel.coroutine.block",
       .shows = "the same through the kernel path",
       .polls = false,
       .floor = floor_kind::seqpacket,
       .turns = 1'000,
       .make = by_size<quoit::wait::block, false, quoit::transport::kernel>},
      {.name = "executor.idle",
       .shows = "CPU time of a second of an executor that awaits 10,000 idle subscriptions, and nothing else",
       .one_way = true,
       .polls = false,
       .floor = floor_kind::futex,
       .turns = 1,
       .payload_bytes = 8,
       .payload_fixed = true,
       .make = idles},
  };
}

}  // namespace bench
