// Rows of coroutines: the bus in the loop of an executor, and the loop by itself.
#include "rows_executor.hpp"

#include "endpoint.hpp"
#include "schedule.hpp"

namespace bench {

namespace {

quoit::executor executor_that(quoit::wait how) {
  return must("making the executor", quoit::executor::create({.wait = how}));
}

template <class T, quoit::wait How>
class awaiting : public endpoint<T> {
 public:
  awaiting(const order& what, bool asks)
      : endpoint<T>(what, asks, asks ? "there" : "back", asks ? "back" : "there", How), executor_(executor_that(How)) {}

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

  quoit::executor executor_;
  schedule schedule_;
};

template <quoit::wait How>
std::unique_ptr<side> by_size(const order& what, bool asks) {
  switch (what.payload_bytes) {
    case 8: return std::make_unique<awaiting<fixed<8>, How>>(what, asks);
    case 64: return std::make_unique<awaiting<fixed<64>, How>>(what, asks);
    case 1024: return std::make_unique<awaiting<fixed<1024>, How>>(what, asks);
    default: return std::make_unique<awaiting<quoit::bytes, How>>(what, asks);
  }
}

// Through the ready queue and back, in one process: the other one waits for its end.
class switching : public side {
 public:
  switching(const order&, bool asks) : asks_(asks), executor_(executor_that(quoit::wait::spin)) {}

  void run(const order& what, histogram* h) override {
    if (asks_) executor_.run(yields(what, *h));
  }

 private:
  static constexpr std::uint64_t run_switches = 1024;

  quoit::task<> yields(const order& what, histogram& h) {
    for (std::uint64_t done = 0; done < what.turns; done += run_switches) {
      const std::uint64_t begin = floors::ticks();
      for (std::uint64_t i = 0; i < run_switches; ++i) co_await quoit::this_task::yield();
      h.record((floors::ticks() - begin) / run_switches);
    }
  }

  bool asks_;
  quoit::executor executor_;
};

std::unique_ptr<side> switches(const order& what, bool asks) { return std::make_unique<switching>(what, asks); }

}  // namespace

std::vector<row_type> executor_rows() {
  return {
      {.name = "shm.coroutine.spin",
       .shows = "round trip through co_await, both executors spinning",
       .turns = 50'000,
       .make = by_size<quoit::wait::spin>},
      {.name = "shm.coroutine.adaptive",
       .shows = "the same, spinning as long as that pays",
       .turns = 50'000,
       .make = by_size<quoit::wait::adaptive>},
      {.name = "shm.coroutine.block",
       .shows = "the same, asleep in the kernel while they wait",
       .polls = false,
       .floor = floor_kind::futex,
       .turns = 1'000,
       .make = by_size<quoit::wait::block>},
      {.name = "executor.switch",
       .shows = "suspending and resuming through the ready queue, in one process",
       .one_way = true,
       .polls = false,
       .turns = 1 << 20,
       .payload_bytes = 8,
       .payload_fixed = true,
       .make = switches},
  };
}

}  // namespace bench
