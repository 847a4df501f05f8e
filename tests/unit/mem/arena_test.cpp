#include "mem/arena.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>

#include <cstring>
#include <thread>

#include "support/child.hpp"
#include "support/skip.hpp"

using namespace quoit;
using namespace quoit::detail;
using namespace std::chrono_literals;

namespace {

template <class T>
T must(result<T> r) {
  REQUIRE_MESSAGE(r, r.error().message());
  return std::move(*r);
}

struct one_arena {
  std::shared_ptr<arena> memory = must(arena::create(1 << 20, false));
  std::shared_ptr<segment_store> store = arena_store(memory, 1s);
  u64 free_at_first = memory->free_bytes();
};

shm_purpose of_test() { return {"a test", "bytes"}; }

}  // namespace

TEST_CASE("an object of an arena is zero, writable, locked, and without a name until it is placed") {
  const one_arena a;
  segment made = must(a.store->make("tmp-", 10'000, of_test()));
  CHECK(made.memory.bytes() == 10'000);
  for (std::size_t i = 0; i < 10'000; i += 512) CHECK(made.memory.data()[i] == std::byte{0});
  made.memory.data()[9'999] = std::byte{7};
  CHECK(a.store->list("")->empty());
  CHECK(must(a.store->place(made, "name", {})));
  CHECK(a.store->list("na") == std::vector<std::string>{"name"});
  const mapping again = must(a.store->map("name", access::read));
  CHECK(again.bytes() == 10'000);
  CHECK(again.data()[9'999] == std::byte{7});
  segment_locks other = must(a.store->open_locks("name"));
  CHECK(other.try_lock(shm_lock_byte) == lock_status::held_by_other);
  CHECK_FALSE(other.removed());
  a.store->remove("name");
  CHECK(other.removed());
  CHECK(made.locks.removed());
  CHECK(a.store->map("name", access::read).error() == errc::not_found);
}

TEST_CASE("of two objects of one name the second is told, and leaves nothing") {
  const one_arena a;
  segment first = must(a.store->make("tmp-", 4096, of_test()));
  segment second = must(a.store->make("tmp-", 4096, of_test()));
  first.memory.data()[0] = std::byte{1};
  CHECK(must(a.store->place(first, "name", {})));
  CHECK_FALSE(must(a.store->place(second, "name", {})));
  second = segment{};
  CHECK(must(a.store->map("name", access::read)).data()[0] == std::byte{1});
  CHECK(a.memory->free_bytes() == a.free_at_first - 4096);
}

TEST_CASE("locks of two objects, and of two bytes of one, have nothing to do with each other") {
  const one_arena a;
  segment first = must(a.store->make("tmp-", 4096, of_test()));
  segment second = must(a.store->make("tmp-", 4096, of_test()));
  REQUIRE(must(a.store->place(first, "a", {})));
  REQUIRE(must(a.store->place(second, "b", {})));
  second.locks.unlock(shm_lock_byte);
  segment_locks of_second = must(a.store->open_locks("b"));
  CHECK(of_second.try_lock(shm_lock_byte) == lock_status::taken);
  segment_locks of_first = must(a.store->open_locks("a"));
  CHECK(of_first.try_lock(shm_lock_byte) == lock_status::held_by_other);
  CHECK(of_first.try_lock(off_t{1} << 41) == lock_status::taken);
  CHECK_FALSE(of_second.held_by_other(off_t{1} << 41, 65536));
  CHECK(second.locks.held_by_other(shm_lock_byte, 1));
}

TEST_CASE("what is removed is free once nobody has it mapped or open, and not before") {
  const one_arena a;
  mapping kept;
  segment_locks open;
  {
    segment made = must(a.store->make("tmp-", 64 << 10, of_test()));
    std::memset(made.memory.data(), 0x5a, made.memory.bytes());
    REQUIRE(must(a.store->place(made, "name", {})));
    kept = must(a.store->map("name", access::read));
    open = must(a.store->open_locks("name"));
  }
  a.store->remove("name");
  CHECK(a.memory->free_bytes() == a.free_at_first - (64 << 10));
  // Whoever asks for all the rest does not get it, and what is mapped stays what it was.
  segment rest = must(a.store->make("tmp-", a.memory->free_bytes(), of_test()));
  CHECK(a.store->make("tmp-", 4096, of_test()).error() == errc::no_space);
  std::memset(rest.memory.data(), 0, rest.memory.bytes());
  CHECK(kept.data()[1000] == std::byte{0x5a});
  kept = mapping();
  CHECK(a.store->make("tmp-", 4096, of_test()).error() == errc::no_space);
  open.reset();
  const segment next = must(a.store->make("tmp-", 64 << 10, of_test()));
  // Nothing of what was there before.
  for (std::size_t i = 0; i < next.memory.bytes(); i += 64) REQUIRE(next.memory.data()[i] == std::byte{0});
}

TEST_CASE("an object of another process is not freed under it") {
  const one_arena a;
  {
    segment made = must(a.store->make("tmp-", 4096, of_test()));
    made.memory.data()[0] = std::byte{9};
    REQUIRE(must(a.store->place(made, "name", {})));
  }
  int ready[2], go[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(go) == 0);
  test::child other([&] {
    auto mapped = a.store->map("name", access::read);
    if (!mapped || ::write(ready[1], "x", 1) != 1) return 1;
    char c;
    if (::read(go[0], &c, 1) != 1) return 2;
    return mapped->data()[0] == std::byte{9} ? 0 : 3;
  });
  char c;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  a.store->remove("name");
  CHECK(a.memory->free_bytes() == a.free_at_first - 4096);
  REQUIRE(::write(go[1], "x", 1) == 1);
  CHECK(other.wait().status == 0);
  CHECK(a.memory->free_bytes() == a.free_at_first);
  for (const int fd : {ready[0], ready[1], go[0], go[1]}) ::close(fd);
}

TEST_CASE("a maker that dies leaves nothing that the next one does not remove") {
  const one_arena a;
  for (int step = 0; step < 3; ++step) {
    test::child maker([&] {
      auto made = a.store->make("tmp-", 700 << 10, of_test());
      if (!made) return 1;
      if (step > 0 && !a.store->place(*made, "name", {})) return 2;
      if (step > 1) a.store->remove("name");
      ::kill(::getpid(), SIGKILL);
      return 3;
    });
    CHECK(maker.wait().signal == SIGKILL);
    if (step == 1) a.store->remove("name");
    // There is room for one only.
    const segment next = must(a.store->make("tmp-", 700 << 10, of_test()));
    CHECK(a.memory->free_bytes() == a.free_at_first - (700 << 10));
    a.store->discard(next);
  }
  CHECK(a.memory->free_bytes() == a.free_at_first);
}

TEST_CASE("what a living maker has not placed yet is nobody's rubbish") {
  const one_arena a;
  segment made = must(a.store->make("tmp-", 4096, of_test()));
  a.store->remove_abandoned("tmp-");
  CHECK(must(a.store->place(made, "name", {})));
  made = segment{};
  a.store->remove_abandoned("tmp-");
  CHECK(a.store->list("") == std::vector<std::string>{"name"});
}

TEST_CASE("threads that make, look, remove and let go leave every byte free") {
  const one_arena a;
  std::vector<std::thread> threads;
  const int rounds = test::fast() ? 200 : 1500;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      const std::string name = "n" + std::to_string(t % 2);
      for (int i = 0; i < rounds; ++i) {
        auto made = a.store->make("tmp-", 8192, of_test());
        if (!made) continue;
        made->memory.data()[0] = std::byte{42};
        static_cast<void>(a.store->place(*made, name, {}));
        if (auto seen = a.store->map(name, access::read)) CHECK(seen->data()[0] == std::byte{42});
        if (i % 2 == 0) a.store->remove(name);
      }
    });
  }
  for (auto& t : threads) t.join();
  a.store->remove("n0");
  a.store->remove("n1");
  CHECK(a.memory->free_bytes() == a.free_at_first);
}

TEST_CASE("an entry that points out of the memory is corrupt") {
  const one_arena a;
  {
    segment made = must(a.store->make("tmp-", 4096, of_test()));
    REQUIRE(must(a.store->place(made, "name", {})));
  }
  const auto entry = must(map_file(a.memory->descriptor(), 2 * 4096, access::read_write, "test"));
  auto& e = entry.object<directory_entry>(memory_header_bytes);
  const u64 offset = e.offset;
  const u64 bytes = e.bytes;
  for (const u64 wrong : {u64{0}, u64{1}, u64{4096}, offset + 8, u64{1} << 20, ~u64{0}, ~u64{4095}}) {
    e.offset = wrong;
    CHECK(a.store->map("name", access::read).error() == errc::corrupt);
  }
  e.offset = offset;
  for (const u64 wrong : {u64{0}, u64{1} << 20, ~u64{0}, ~u64{0} - offset}) {
    e.bytes = wrong;
    CHECK(a.store->map("name", access::read).error() == errc::corrupt);
  }
  e.bytes = bytes;
  CHECK(a.store->map("name", access::read));
}
