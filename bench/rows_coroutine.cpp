// Rows of coroutines that wait for messages.
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

#include "crowd.hpp"
#include "endpoint.hpp"
#include "rows_executor.hpp"
#include "schedule.hpp"

namespace bench {

namespace {

template <class T, quoit::wait How, bool Crowded, quoit::transport Way>
class awaiting : public endpoint<T> {
 public:
  awaiting(const order& what, bool asks, rung_choice on = {})
      : endpoint<T>(what, asks, asks ? "there" : "back", asks ? "back" : "there", How, Way),
        executor_(executor_that(How, on)) {
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

// Asleep on one rung, whatever the environment says.
template <quoit::io_engine Engine, quoit::rung Rung>
std::unique_ptr<side> on_rung(const order& what, bool asks) {
  using row = awaiting<fixed<64>, quoit::wait::block, false, quoit::transport::shared_memory>;
  return std::make_unique<row>(what, asks, rung_choice{Engine, Rung});
}

// The other side of a row, on a thread of this process.
class beside {
 public:
  beside(const order& what, std::unique_ptr<side> (*make)(const order&, bool asks))
      : thread_([this, what, make] { live(what, make); }) {}
  ~beside() {
    tell(state::ends);
    thread_.join();
  }
  beside(const beside&) = delete;
  beside& operator=(const beside&) = delete;

  void begin(const order& what) {
    order_ = what;
    tell(state::runs);
  }
  void wait() {
    std::unique_lock hold(mutex_);
    changed_.wait(hold, [&] { return now_ != state::runs; });
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
  }

 private:
  enum class state { idle, runs, ends };

  void live(const order& what, std::unique_ptr<side> (*make)(const order&, bool asks)) {
    std::unique_ptr<side> mine;
    for (bool first = true;; first = false) {
      try {
        if (first && !floors::pin(what.cpus.answers)) throw std::runtime_error("cannot run on that CPU");
        if (first) mine = make(what, false);
        std::unique_lock hold(mutex_);
        changed_.wait(hold, [&] { return now_ != state::idle; });
        if (now_ == state::ends) return;
        hold.unlock();
        mine->run(order_, nullptr);
      } catch (...) {
        const std::lock_guard hold(mutex_);
        thrown_ = std::current_exception();
      }
      const std::lock_guard hold(mutex_);
      if (now_ == state::ends || !mine) return;
      now_ = state::idle;
      changed_.notify_all();
    }
  }
  void tell(state next) {
    const std::lock_guard hold(mutex_);
    now_ = next;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  state now_ = state::idle;
  std::exception_ptr thrown_;
  order order_;
  std::thread thread_;
};

// Both sides in one process, on two threads with an executor and a bus each. The answering process is asleep.
template <class T, quoit::wait How>
class in_one_process : public side {
 public:
  in_one_process(const order& what, bool asks) {
    if (!asks) return;
    other_.emplace(what, [](const order& o, bool a) -> std::unique_ptr<side> { return std::make_unique<half>(o, a); });
    mine_ = std::make_unique<half>(what, true);
  }
  std::uint64_t wakes() const override { return mine_ ? mine_->wakes() : 0; }
  std::uint64_t enters() const override { return mine_ ? mine_->enters() : 0; }

  void run(const order& what, histogram* h) override {
    if (!mine_) return wait_until_told(what.socket);
    other_->begin(what);
    mine_->run(what, h);
    other_->wait();
    bench::tell(what.socket);
  }

 private:
  using half = awaiting<T, How, false, quoit::transport::shared_memory>;
  std::optional<beside> other_;
  std::unique_ptr<half> mine_;
};

template <quoit::wait How>
std::unique_ptr<side> in_threads(const order& what, bool asks) {
  return std::make_unique<in_one_process<fixed<64>, How>>(what, asks);
}

// Ten topics there and ten back, each with a message on its way all the time.
template <bool Crowded>
class ten_busy : public side {
 public:
  ten_busy(const order& what, bool asks)
      : asks_(asks),
        bus_(must("opening the bus", quoit::bus::open(what.bus, {.node_name = asks ? "asks" : "answers"}))),
        executor_(executor_that(quoit::wait::spin)) {
    for (int i = 0; i < busy; ++i) {
      const std::string number = std::to_string(i);
      publishers_.push_back(
          must("opening the publisher", bus_.publisher<fixed<64>>((asks ? "there" : "back") + number)));
      subscribers_.push_back(
          must("opening the subscriber", bus_.subscriber<fixed<64>>((asks ? "back" : "there") + number)));
    }
    const std::uint64_t end = floors::monotonic_ns() + std::uint64_t{patience / std::chrono::nanoseconds(1)};
    for (int i = 0; i < busy; ++i) {
      while (publishers_[i].subscribers() == 0 || subscribers_[i].publishers() == 0) {
        if (floors::monotonic_ns() > end) throw std::runtime_error("the other side did not come");
        ::usleep(100);
      }
    }
    if (Crowded) crowd_.await(bus_, executor_, asks);
  }
  std::uint64_t enters() const override { return executor_.system_calls(); }

  void run(const order& what, histogram* h) override { executor_.run(all(what, h)); }

 private:
  static constexpr int busy = 10;

  quoit::task<> all(const order& what, histogram* h) {
    quoit::scope tasks;
    for (int i = 0; i < busy; ++i) {
      const std::uint64_t turns = what.turns / busy + (static_cast<std::uint64_t>(i) < what.turns % busy ? 1 : 0);
      tasks.spawn(asks_ ? ask(i, turns, *h) : answer(i, turns));
    }
    co_await tasks.join();
  }
  quoit::task<> ask(int i, std::uint64_t turns, histogram& h) {
    for (std::uint64_t n = 0; n < turns; ++n) {
      const std::uint64_t begin = floors::ticks();
      send(i);
      const auto sample = co_await subscribers_[i].next();
      if (!sample) fail("receiving", sample.error());
      h.record(floors::ticks() - begin);
    }
  }
  quoit::task<> answer(int i, std::uint64_t turns) {
    for (std::uint64_t n = 0; n < turns; ++n) {
      const auto sample = co_await subscribers_[i].next();
      if (!sample) fail("receiving", sample.error());
      send(i);
    }
  }
  void send(int i) {
    if (auto sent = publishers_[i].publish(message_); !sent) fail("publishing", sent.error());
  }

  bool asks_;
  quoit::bus bus_;
  std::vector<quoit::publisher<fixed<64>>> publishers_;
  std::vector<quoit::subscriber<fixed<64>>> subscribers_;
  fixed<64> message_{};
  crowd crowd_;
  quoit::executor executor_;
};

template <bool Crowded>
std::unique_ptr<side> ten(const order& what, bool asks) {
  return std::make_unique<ten_busy<Crowded>>(what, asks);
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
      {.name = "shm.coroutine.ten",
       .shows = "ten topics each way, each with a message on its way, in two spinning executors",
       .turns = 50'000,
       .payload_bytes = 64,
       .payload_fixed = true,
       .make = ten<false>},
      {.name = "shm.coroutine.ten.idle",
       .shows = "the same, with 10,000 idle subscriptions awaited beside them on each side",
       .turns = 50'000,
       .payload_bytes = 64,
       .payload_fixed = true,
       .make = ten<true>},
      {.name = "shm.threads.spin",
       .shows = "as shm.coroutine.spin, in two executors of one process",
       .threads = true,
       .turns = 50'000,
       .payload_bytes = 64,
       .payload_fixed = true,
       .make = in_threads<quoit::wait::spin>},
      {.name = "shm.threads.block",
       .shows = "as shm.coroutine.block, in two executors of one process",
       .polls = false,
       .threads = true,
       .floor = floor_kind::futex,
       .turns = 1'000,
       .payload_bytes = 64,
       .payload_fixed = true,
       .make = in_threads<quoit::wait::block>},
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
      {.name = "rung.futex",
       .shows = "as shm.coroutine.block, both executors woken by a futex that they wait for in io_uring",
       .polls = false,
       .floor = floor_kind::futex_ring,
       .turns = 1'000,
       .payload_bytes = 64,
       .payload_fixed = true,
       .make = on_rung<quoit::io_engine::io_uring, quoit::rung::futex>},
      {.name = "rung.pipe",
       .shows = "as shm.coroutine.block, both executors woken by a pipe that they poll in io_uring",
       .polls = false,
       .floor = floor_kind::pipe_ring,
       .turns = 1'000,
       .payload_bytes = 64,
       .payload_fixed = true,
       .make = on_rung<quoit::io_engine::io_uring, quoit::rung::pipe>},
      {.name = "rung.pipe.epoll",
       .shows = "as shm.coroutine.block, both executors on epoll, woken by a pipe",
       .polls = false,
       .floor = floor_kind::pipe_epoll,
       .turns = 1'000,
       .payload_bytes = 64,
       .payload_fixed = true,
       .make = on_rung<quoit::io_engine::epoll, quoit::rung::pipe>},
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
