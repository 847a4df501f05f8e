// A loop and what it looks at besides its ring, woken by another thread through a futex.
#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/futex.hpp"
#include "quoit/detail/atomic.hpp"
#include "quoit/executor.hpp"
#include "quoit/sleep.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
namespace detail = quoit::detail;
using detail::u32;

namespace {

// Counts messages: a word, a word that says that somebody sleeps, and a word to sleep on.
struct mailbox final : detail::loop_source {
  mailbox() = default;
  mailbox(const mailbox&) = delete;
  mailbox& operator=(const mailbox&) = delete;
  ~mailbox() { ::close(pipe); }
  bool look() noexcept override {
    if (waiting == nullptr || detail::load_acquire(messages) == taken) return false;
    waiting->handle = handle;
    where->make_ready(*std::exchange(waiting, nullptr));
    return true;
  }
  bool hot() const noexcept override { return waiting != nullptr; }
  bool prepare_sleep(detail::loop_bed& bed) noexcept override {
    bed.seen = detail::load_relaxed(bell);
    bed.word = &bell;
    if (!bed.on_word) bed.descriptor = pipe;
    detail::store_release(sleeping, u32{1});
    detail::full_fence();
    if (!look()) return true;
    detail::store_relaxed(sleeping, u32{0});
    return false;
  }
  void woken() noexcept override {
    detail::store_relaxed(sleeping, u32{0});
    ++wakes;
    look();
  }
  std::chrono::nanoseconds sleep_max() const noexcept override { return longest; }
  void loop_gone() noexcept override { where = nullptr; }

  // The other thread.
  void send() {
    detail::fetch_add(messages, u32{1});
    detail::full_fence();
    if (detail::load_relaxed(sleeping) == 0 || detail::exchange(sleeping, u32{0}) != 1) return;
    detail::fetch_add(bell, u32{1});
    detail::futex_wake(bell);
    const std::uint64_t one = 1;
    REQUIRE(::write(pipe, &one, sizeof one) == sizeof one);
  }

  struct awaiter : detail::ready_node {
    explicit awaiter(mailbox& b) noexcept : box(b) {}
    bool await_ready() const noexcept { return detail::load_acquire(box.messages) != box.taken; }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      box.handle = h;
      box.waiting = this;
    }
    u32 await_resume() noexcept { return ++box.taken; }
    mailbox& box;
  };
  awaiter next() { return awaiter(*this); }

  u32 messages = 0, sleeping = 0, bell = 0;
  u32 taken = 0;
  std::coroutine_handle<> handle;
  detail::ready_node* waiting = nullptr;
  detail::loop* where = nullptr;
  std::uint64_t wakes = 0;
  int pipe = ::eventfd(0, EFD_CLOEXEC);  // for a loop that cannot wait for a word
  std::chrono::nanoseconds longest = 1h;
};

}  // namespace

TEST_CASE("no wake of a source is lost, however the loop waits") {
  for (const auto how : {quoit::wait::block, quoit::wait::adaptive, quoit::wait::spin}) {
    auto ex = quoit::executor::create({.wait = how}).value();
    mailbox box;
    box.where = &ex.loop();
    ex.loop().add(box);
    // Where there is one processor, each side that spins does so to the end of its time slice.
    const u32 n = how == quoit::wait::spin ? 1'000 : fast() || under_tsan ? 5'000 : 50'000;
    // One at a time: each is sent when the one before was taken, so that the loop falls asleep between them.
    std::atomic<u32> seen = 0;
    auto receives = [](mailbox& b, std::atomic<u32>& s, u32 count) -> quoit::task<> {
      while (s < count) s = co_await b.next();
    };
    std::thread sender([&] {
      for (u32 i = 0; i < n; ++i) {
        while (seen != i) std::this_thread::yield();
        box.send();
      }
    });
    ex.run(receives(box, seen, n));
    sender.join();
    CHECK(seen == n);
    if (how == quoit::wait::block) CHECK(box.wakes > 0);
    ex.loop().remove(box);
  }
}

TEST_CASE("a source and a timer share the loop's sleep") {
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  mailbox box;
  box.where = &ex.loop();
  ex.loop().add(box);
  int ticks = 0;
  auto ticking = [](int& t) -> quoit::task<> {
    for (; t < 20; ++t) static_cast<void>(co_await quoit::sleep_for(500us));
  };
  auto receives = [](mailbox& b) -> quoit::task<> { static_cast<void>(co_await b.next()); };
  std::thread sender([&] {
    std::this_thread::sleep_for(15ms);
    box.send();
  });
  ex.spawn(ticking(ticks));
  ex.run(receives(box));
  ex.run();
  sender.join();
  CHECK(ticks == 20);
  ex.loop().remove(box);
}

TEST_CASE("a source is woken at its recheck when nobody wakes it") {
  auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
  mailbox box;
  box.where = &ex.loop();
  box.longest = 2ms;
  ex.loop().add(box);
  auto receives = [](mailbox& b) -> quoit::task<> { static_cast<void>(co_await b.next()); };
  std::thread forgetful([&] {
    std::this_thread::sleep_for(5ms);
    detail::fetch_add(box.messages, u32{1});
  });
  ex.run(receives(box));
  forgetful.join();
  CHECK(box.taken == 1);
  ex.loop().remove(box);
}

TEST_CASE("a source that is there when the loop goes is told") {
  mailbox box;
  {
    auto ex = quoit::executor::create({.wait = quoit::wait::block}).value();
    box.where = &ex.loop();
    ex.loop().add(box);
    auto a_while = []() -> quoit::task<> { static_cast<void>(co_await quoit::sleep_for(1ms)); };
    ex.run(a_while());
  }
  CHECK(box.where == nullptr);
}
