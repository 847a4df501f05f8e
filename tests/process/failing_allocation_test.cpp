// Each allocation that opening makes fails in turn: the call answers an error, leaves nothing behind, and works when it
// is made again.
#include <doctest/doctest.h>

#include <dirent.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>

#include <quoit.hpp>

#include "quoit/detail/atomic.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/skip.hpp"

using namespace quoit::test;

namespace {

constexpr long never = -1;
std::atomic<long> allocations_left{never};  // before one fails

[[maybe_unused]] bool fails_now() noexcept {
  long left = allocations_left.load();
  while (left >= 0 && !allocations_left.compare_exchange_weak(left, left - 1)) {
  }
  return left == 0;
}

}  // namespace

// ThreadSanitizer has an operator new of its own.
#if !defined(QUOIT_TSAN)
void* operator new(std::size_t bytes) {
  void* const memory = fails_now() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace {

int open_descriptors() {
  DIR* const all = ::opendir("/proc/self/fd");
  int count = 0;
  while (::readdir(all) != nullptr) ++count;
  ::closedir(all);
  return count;
}

enum outcome : int { works, refuses, works_without, throws, leaves_descriptors, fails_later };

// In a child, as a crash is an outcome too. `operation` answers an errc, or 0.
template <class Operation>
int with_failure(long n, Operation& operation) {
  const int before = open_descriptors();
  allocations_left = n;
  int answer = 0;
  try {
    answer = operation();
  } catch (const std::bad_alloc&) {
    allocations_left = never;
    return throws;
  }
  const bool failed = allocations_left.exchange(never) == never;
  if (open_descriptors() != before) return leaves_descriptors;
  if (!failed) return answer == 0 ? works : fails_later;
  if (operation() != 0) return fails_later;
  return answer == 0 ? works_without : refuses;
}

template <class Operation>
void fail_each(Operation operation) {
  for (long n = 0; n < 10'000; ++n) {
    child one([&] { return with_failure(n, operation); });
    const ending how = one.wait();
    INFO("allocation ", n);
    CHECK(how.signal == 0);
    if (how.signal != 0) continue;
    if (how.status == works) return;
    CHECK((how.status == refuses || how.status == works_without));
  }
  FAIL("it never ends");
}

template <class T>
int answer_of(const quoit::result<T>& r) {
  return r ? 0 : static_cast<int>(r.error().code());
}

}  // namespace

TEST_CASE("loops of executors: each allocation of create() fails in turn") {
  if (under_tsan) QUOIT_SKIP("the sanitizer allocates by itself");
  for (const auto engine : {quoit::io_engine::automatic, quoit::io_engine::epoll}) {
    fail_each([engine] { return answer_of(quoit::detail::loop::create({.engine = engine})); });
  }
}

TEST_CASE("buses: each allocation of open() fails in turn") {
  if (under_tsan) QUOIT_SKIP("the sanitizer allocates by itself");
  for (const auto transport : {quoit::transport::shared_memory, quoit::transport::kernel}) {
    const bus_guard name;
    fail_each([&] { return answer_of(quoit::bus::open(name.name(), {.transport = transport})); });
  }
}

TEST_CASE("inherited memory: each allocation of making it, and of a bus in it, fails in turn") {
  if (under_tsan) QUOIT_SKIP("the sanitizer allocates by itself");
  for (const bool sealed : {false, true}) {
    fail_each([sealed] {
      auto memory = quoit::inherited_memory::create({.bytes = 4 << 20, .sealed = sealed});
      if (!memory) return answer_of(memory);
      return answer_of(quoit::bus::open(*memory));
    });
  }
}
