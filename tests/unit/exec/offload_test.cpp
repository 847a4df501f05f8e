#include "quoit/offload.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "quoit/executor.hpp"
#include "quoit/scope.hpp"
#include "quoit/sleep.hpp"
#include "quoit/timeout.hpp"
#include "quoit/when_all.hpp"

using namespace std::chrono_literals;

namespace {

quoit::task<int> slow(int value) {
  auto work = [value] {
    std::this_thread::sleep_for(2ms);
    return value;
  };
  const int answer = co_await quoit::offload(std::move(work));
  co_return answer;
}

}  // namespace

TEST_CASE("offloaded work runs on another thread and gives its value, and the loop goes on meanwhile") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin}) {
    auto ex = quoit::executor::create({.wait = how}).value();
    auto all = []() -> quoit::task<> {
      std::atomic<bool> go = false;
      int ticks = 0;
      auto ticking = [](int& t, std::atomic<bool>& g) -> quoit::task<> {
        for (; t < 10; ++t) static_cast<void>(co_await quoit::sleep_for(100us));
        g = true;
      };
      quoit::scope s;
      s.spawn(ticking(ticks, go));
      const auto here = std::this_thread::get_id();
      auto work = [&go, here] {
        while (!go) std::this_thread::sleep_for(100us);
        return std::make_unique<bool>(std::this_thread::get_id() != here);
      };
      const std::unique_ptr<bool> elsewhere = co_await quoit::offload(std::move(work));
      CHECK(*elsewhere);
      CHECK(ticks == 10);
      CHECK(std::this_thread::get_id() == here);
      co_await s.join();
    };
    ex.run(all());
  }
}

TEST_CASE("several are offloaded at once, and nothing and exceptions come back too") {
  auto all = []() -> quoit::task<> {
    const auto values = co_await quoit::when_all(slow(1), slow(2), slow(3));
    CHECK(std::get<0>(values) + std::get<1>(values) + std::get<2>(values) == 6);
    bool ran = false;
    auto nothing = [&ran] { ran = true; };
    co_await quoit::offload(std::move(nothing));
    CHECK(ran);
    std::string words;
    auto throws = []() -> int { throw std::runtime_error("on purpose"); };
    try {
      static_cast<void>(co_await quoit::offload(throws));
    } catch (const std::runtime_error& e) {
      words = e.what();
    }
    CHECK(words == "on purpose");
  };
  quoit::sync_wait(all());
}

TEST_CASE("a stop does not end offloaded work, whose value comes all the same") {
  auto all = []() -> quoit::task<> {
    int answer = 0;
    auto waits = [](int& a) -> quoit::task<> { a = co_await slow(7); };
    quoit::scope s;
    s.spawn(waits(answer));
    static_cast<void>(co_await quoit::sleep_for(100us));
    s.request_stop();
    co_await s.join();
    CHECK(answer == 7);
  };
  quoit::sync_wait(all());
}

TEST_CASE("a task that goes while its work is offloaded waits for it, and so does an executor") {
  std::atomic<int> over = 0;
  auto waits = [](std::atomic<int>& o) -> quoit::task<> {
    int local = 0;  // the work refers to it
    auto work = [&o, &local] {
      std::this_thread::sleep_for(3ms);
      ++local;
      o += local;
    };
    co_await quoit::offload(std::move(work));
  };
  auto all = [](std::atomic<int>& o, auto make) -> quoit::task<> {
    {
      quoit::scope s;
      s.spawn(make(o));
      static_cast<void>(co_await quoit::sleep_for(500us));
    }
    CHECK(o == 1);
    static_cast<void>(co_await quoit::sleep_for(1ms));
  };
  quoit::sync_wait(all(over, waits));
  {
    auto ex = quoit::executor::create().value();
    ex.spawn(waits(over));
    auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(500us)); };
    ex.run(a_while());
  }
  CHECK(over == 2);
  // One that never began to run.
  {
    auto ex = quoit::executor::create().value();
    ex.spawn(waits(over));
  }
  CHECK(over == 2);
}
