#include "quoit/task.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "quoit/detail/exec/ready_queue.hpp"
#include "quoit/executor.hpp"
#include "quoit/sleep.hpp"
#include "quoit/this_task.hpp"
#include "support/child.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

// Counts how many of it there are.
struct counted {
  explicit counted(int& n) noexcept : count(&n) { ++*count; }
  counted(const counted& other) noexcept : count(other.count) { ++*count; }
  counted& operator=(const counted&) = default;
  ~counted() { --*count; }
  int* count;
};

quoit::task<int> number(int n) { co_return n; }
quoit::task<int> sum(int n) {
  int total = 0;
  for (int i = 1; i <= n; ++i) total += co_await number(i);
  co_return total;
}
quoit::task<std::unique_ptr<std::string>> moved() { co_return std::make_unique<std::string>("only moved"); }
quoit::task<> throws() {
  co_await quoit::this_task::yield();
  throw std::runtime_error("on purpose");
}
quoit::task<std::string> catches() {
  try {
    co_await throws();
  } catch (const std::runtime_error& e) {
    co_return e.what();
  }
  co_return "nothing was thrown";
}
quoit::task<std::uint64_t> many(std::uint64_t n) {
  std::uint64_t total = 0;
  for (std::uint64_t i = 0; i < n; ++i) total += static_cast<std::uint64_t>(co_await number(1));
  co_return total;
}
quoit::task<int> nested(int depth) {
  if (depth == 0) co_return 0;
  co_return 1 + co_await nested(depth - 1);
}
quoit::task<> holds(int& n) {
  const counted here(n);
  for (;;) co_await quoit::this_task::yield();
}
quoit::task<> holds_inside(int& n) {
  const counted here(n);
  co_await holds(n);
}
quoit::task<> never_awaited(int& n) {
  const counted here(n);
  co_return;
}

}  // namespace

TEST_CASE("a task gives its value to whoever awaits it") {
  CHECK(quoit::sync_wait(number(7)) == 7);
  CHECK(quoit::sync_wait(sum(100)) == 5050);
  CHECK(*quoit::sync_wait(moved()) == "only moved");
}

TEST_CASE("an exception is thrown where the task is awaited") {
  CHECK(quoit::sync_wait(catches()) == "on purpose");
  CHECK_THROWS_AS(quoit::sync_wait(throws()), std::runtime_error);
}

TEST_CASE("a task that is not awaited does not run, and one that is destroyed suspended takes what it awaits with it") {
  int alive = 0;
  {
    const auto lazy = never_awaited(alive);
  }
  CHECK(alive == 0);
  {
    auto ex = quoit::executor::create().value();
    ex.spawn(holds_inside(alive));
    auto a_while = []() -> quoit::task<> {
      static_cast<void>(co_await quoit::sleep_for(std::chrono::milliseconds(1)));
    };
    ex.run(a_while());
    CHECK(alive == 2);
  }
  CHECK(alive == 0);
}

TEST_CASE("the ready queue keeps its order when nodes are taken out of its front, its middle and its end") {
  std::vector<quoit::detail::ready_node> nodes(9);
  quoit::detail::ready_queue queue;
  for (auto& n : nodes) {
    n.handle = std::coroutine_handle<>::from_address(&n);
    queue.push(n);
  }
  for (const std::size_t i : {0u, 4u, 5u, 8u, 1u}) {
    queue.remove(nodes[i]);
    CHECK(!nodes[i].queued());
  }
  queue.push(nodes[4]);
  for (const std::size_t i : {2u, 3u, 6u, 7u, 4u}) {
    REQUIRE(!queue.empty());
    CHECK(queue.pop().address() == &nodes[i]);
  }
  CHECK(queue.empty());
  queue.push(nodes[0]);
  CHECK(queue.pop().address() == &nodes[0]);
  CHECK(queue.empty());
}

TEST_CASE("tasks may be moved before they are awaited") {
  auto first = number(3);
  auto second = std::move(first);
  CHECK(!first);
  first = std::move(second);
  CHECK(quoit::sync_wait(std::move(first)) == 3);
}

TEST_CASE("ten million awaits of tasks that are ready do not use up the stack, optimised or not") {
  const std::uint64_t n = fast() || under_tsan ? 500'000 : 10'000'000;
  CHECK(quoit::sync_wait(many(n)) == n);
}

TEST_CASE("a hundred thousand tasks that await each other do not use up the stack") {
  CHECK(quoit::sync_wait(nested(100'000)) == 100'000);
}

namespace {

// The first local variable is the flag of the condition.
quoit::task<> condition_first() {
  if (co_await number(1)) co_return;
}

}  // namespace

TEST_CASE("a frame that the compiler lays out wrong is found when the coroutine is made") {
  child made([] {
    ::close(STDERR_FILENO);
    ::signal(SIGABRT, SIG_DFL);
    quoit::sync_wait(condition_first());
    return 0;
  });
  const auto end = made.wait();
  // Either the compiler is right, and it ran; or it is told.
  const bool right = end.signal == 0 && end.status == 0;
  CHECK((right || end.signal == SIGABRT));
}

namespace {

// Makes a coroutine when it is copied, and keeps it.
struct makes_one {
  makes_one() = default;
  makes_one(const makes_one&) : made(number(5)) {}
  makes_one& operator=(const makes_one&) = delete;
  quoit::task<int> made;
};
quoit::task<int> awaits_what_it_was_given(makes_one given) { co_return co_await std::move(given.made); }
struct alignas(16) aligned {
  long double value;
};
quoit::task<aligned> gives_aligned() { co_return aligned{1}; }

}  // namespace

TEST_CASE("a parameter that makes a coroutine while it is copied, and a value as aligned as can be, disturb no frame") {
  auto given = [](const makes_one& g) -> quoit::task<int> {
    makes_one copied(g);
    auto inner = awaits_what_it_was_given(copied);
    co_return co_await std::move(inner);
  };
  const makes_one original;
  CHECK(quoit::sync_wait(given(original)) == 5);
  CHECK(static_cast<int>(quoit::sync_wait(gives_aligned()).value) == 1);
}
