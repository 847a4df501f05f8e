// Rows of the executor by itself: its ready queue, its inbox, its ring.
#include "rows_executor.hpp"

#include <coroutine>
#include <exception>
#include <future>
#include <thread>

#include "schedule.hpp"

namespace bench {

namespace {

// Through the ready queue and back, in one process.
class switching : public side {
 public:
  switching(const order&, bool asks) : asks_(asks), executor_(executor_that(quoit::wait::spin)) {}

  void run(const order& what, histogram* h) override {
    if (!asks_) return wait_until_told(what.socket);
    executor_.run(yields(what, *h));
    tell(what.socket);
  }

 private:
  static constexpr std::uint64_t run_switches = 1024;

  quoit::task<> yields(const order& what, histogram& h) {
    for (std::uint64_t done = 0; done < what.turns; done += run_switches) {
      const std::uint64_t begin = floors::ticks();
      for (std::uint64_t i = 0; i < run_switches; ++i) co_await quoit::this_task::yield();
      h.record((floors::ticks() - begin + run_switches / 2) / run_switches);
    }
  }

  bool asks_;
  quoit::executor executor_;
};

// Onto another executor's thread, and back.
class there_and_back {
 public:
  there_and_back(quoit::executor& there, quoit::executor& here) noexcept : there_(there), here_(here) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> who) {
    there_.post([here = &here_, who] { here->post([who] { who.resume(); }); });
  }
  void await_resume() const noexcept {}

 private:
  quoit::executor& there_;
  quoit::executor& here_;
};

// Suspends until somebody resumes what it has put down.
class put_down {
 public:
  explicit put_down(std::coroutine_handle<>& at) noexcept : at_(at) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> who) noexcept { at_ = who; }
  void await_resume() const noexcept {}

 private:
  std::coroutine_handle<>& at_;
};

// An executor that runs on another thread, and does what is posted to it until it is destroyed.
class second_executor {
 public:
  explicit second_executor(int cpu) {
    std::promise<quoit::executor*> made;
    std::future<quoit::executor*> there = made.get_future();
    thread_ = std::thread([this, cpu, &made] { run(cpu, made); });
    try {
      executor_ = there.get();
    } catch (...) {
      thread_.join();
      throw;
    }
  }
  ~second_executor() {
    executor_->post([this] { end_.resume(); });
    thread_.join();
  }
  second_executor(const second_executor&) = delete;
  second_executor& operator=(const second_executor&) = delete;

  quoit::executor& executor() noexcept { return *executor_; }

 private:
  void run(int cpu, std::promise<quoit::executor*>& made) {
    try {
      if (!floors::pin(cpu)) throw std::runtime_error("cannot run on CPU " + std::to_string(cpu));
      quoit::executor mine = executor_that(quoit::wait::spin);
      // From inside: nothing is posted before there is something to end.
      mine.run(until_end(mine, made));
    } catch (...) {
      if (end_) std::terminate();  // it has been made, and nobody waits for that any more
      made.set_exception(std::current_exception());
    }
  }
  quoit::task<> until_end(quoit::executor& mine, std::promise<quoit::executor*>& made) {
    made.set_value(&mine);
    co_await put_down(end_);
  }

  std::coroutine_handle<> end_;
  quoit::executor* executor_ = nullptr;
  std::thread thread_;
};

// Two executors on two threads of one process. The answering process is asleep: its CPU is the second thread's.
class posting : public side {
 public:
  posting(const order&, bool asks) : asks_(asks), executor_(executor_that(quoit::wait::spin)) {}

  void run(const order& what, histogram* h) override {
    if (!asks_) return wait_until_told(what.socket);
    {
      second_executor second(what.cpus.answers);
      executor_.run(ask(what, second.executor(), *h));
    }
    tell(what.socket);
  }

 private:
  quoit::task<> ask(const order& what, quoit::executor& there, histogram& h) {
    schedule_.go_on(what);
    const schedule due = schedule_;
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      const std::uint64_t begin = due.wait_for(what.first_turn + i);
      co_await there_and_back(there, executor_);
      h.record(floors::ticks() - begin);
    }
  }

  bool asks_;
  quoit::executor executor_;
  schedule schedule_;
};

// As the floor `echo`: bytes through a stream socket and back.
template <quoit::wait How>
class echoing : public side {
 public:
  echoing(const order& what, bool asks)
      : asks_(asks), executor_(executor_that(How)), mine_(what.payload_bytes, std::byte{7}), got_(what.payload_bytes) {}
  std::uint64_t enters() const override { return executor_.system_calls(); }

  void run(const order& what, histogram* h) override {
    if (asks_) {
      executor_.run(ask(what, *h));
    } else {
      executor_.run(answer(what));
    }
  }

 private:
  quoit::task<> ask(const order& what, histogram& h) {
    schedule_.go_on(what);
    const schedule due = schedule_;
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      const std::uint64_t begin = due.wait_for(what.first_turn + i);
      for (std::size_t done = 0; done < mine_.size();) {
        const auto sent = co_await quoit::send(what.socket, std::span(mine_).subspan(done));
        done += moved(sent);
      }
      for (std::size_t done = 0; done < got_.size();) {
        const auto received = co_await quoit::recv(what.socket, std::span(got_).subspan(done));
        done += moved(received);
      }
      h.record(floors::ticks() - begin);
    }
  }
  quoit::task<> answer(const order& what) {
    for (std::uint64_t i = 0; i < what.turns; ++i) {
      for (std::size_t done = 0; done < got_.size();) {
        const auto received = co_await quoit::recv(what.socket, std::span(got_).subspan(done));
        done += moved(received);
      }
      for (std::size_t done = 0; done < got_.size();) {
        const auto sent = co_await quoit::send(what.socket, std::span(got_).subspan(done));
        done += moved(sent);
      }
    }
  }
  static std::size_t moved(const quoit::result<std::size_t>& bytes) {
    if (!bytes) fail("sending or receiving", bytes.error());
    if (*bytes == 0) throw std::runtime_error("the other side has closed its socket");
    return *bytes;
  }

  bool asks_;
  quoit::executor executor_;
  std::vector<std::byte> mine_;
  std::vector<std::byte> got_;
  schedule schedule_;
};

template <class Side>
std::unique_ptr<side> made_side(const order& what, bool asks) {
  return std::make_unique<Side>(what, asks);
}

}  // namespace

std::vector<row_type> executor_rows() {
  return {
      {.name = "executor.post",
       .shows = "post() to an executor on another thread, which posts back, both spinning",
       .floor = floor_kind::line,
       .turns = 20'000,
       .payload_bytes = 8,
       .payload_fixed = true,
       .make = made_side<posting>},
      {.name = "raw.echo",
       .shows = "bytes through a stream socket and back with io_uring, both sides asleep while they wait",
       .polls = false,
       .floor = floor_kind::echo,
       .turns = 1'000},
      {.name = "executor.echo",
       .shows = "the same in two executors: co_await send, co_await recv",
       .polls = false,
       .floor = floor_kind::echo,
       .turns = 1'000,
       .make = made_side<echoing<quoit::wait::block>>},
      {.name = "raw.echo.spin",
       .shows = "as raw.echo, both sides looking for completions without a pause",
       .floor = floor_kind::echo_spin,
       .turns = 5'000},
      {.name = "executor.echo.spin",
       .shows = "as executor.echo, both executors spinning",
       .floor = floor_kind::echo_spin,
       .turns = 5'000,
       .make = made_side<echoing<quoit::wait::spin>>},
      {.name = "executor.switch",
       .shows = "suspending and resuming through the ready queue, in one process",
       .one_way = true,
       .polls = false,
       .turns = 1 << 20,
       .payload_bytes = 8,
       .payload_fixed = true,
       .make = made_side<switching>},
  };
}

}  // namespace bench
