#include "mem/shm_file.hpp"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/file_lock.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"

using namespace quoit::detail;
using quoit::errc;
using quoit::test::bus_guard;
using quoit::test::child;

namespace {

// Names for the objects of one test.
struct names {
  bus_guard bus;
  std::string temporary = "quoit." + bus.name() + "@tmp-";
  std::string object(const char* which) const { return "quoit." + bus.name() + "." + which; }
};

bool exists(const std::string& name) { return ::access(("/dev/shm/" + name).c_str(), F_OK) == 0; }

template <class T>
T must(quoit::result<T> r) {
  if (!r) FAIL(r.error().message());
  return std::move(*r);
}

}  // namespace

TEST_CASE("an object is made under a temporary name, zeroed, of its size, and locked") {
  const names n;
  const shm_file file = must(make_shm(n.temporary, 10'000));
  CHECK(file.name.starts_with(n.temporary));
  CHECK(file_bytes(file.descriptor.get()) == 10'000);
  CHECK(file.memory.bytes() == 10'000);
  CHECK(std::all_of(file.memory.data(), file.memory.data() + 10'000, [](std::byte b) { return b == std::byte{0}; }));
  const fd other = must(open_shm(file.name, access::read_write));
  CHECK(try_lock(other.get(), shm_lock_byte) == lock_status::held_by_other);
  unlink_shm(file.name);
}

TEST_CASE("its space is allocated when it is made") {
  const names n;
  const shm_file file = must(make_shm(n.temporary, 1 << 20));
  struct stat status{};
  REQUIRE(::fstat(file.descriptor.get(), &status) == 0);
  CHECK(status.st_blocks * 512 >= 1 << 20);
  unlink_shm(file.name);
}

TEST_CASE("an object that does not fit is refused, with the need and what is free, and leaves nothing") {
  const names n;
  const std::size_t bytes = std::size_t{1} << 45;
  const auto file = make_shm(n.temporary, bytes);
  REQUIRE_FALSE(file);
  CHECK(file.error().code() == errc::no_space);
  CHECK(file.error().value() == bytes);
  CHECK(file.error().message().find("bytes free") != std::string::npos);
  CHECK(n.bus.files().empty());
}

TEST_CASE("an object gets its mode with its name, whatever the umask") {
  const names n;
  const mode_t before = ::umask(077);
  shm_file file = must(make_shm(n.temporary, 4096));
  CHECK(must(place_shm(file, n.object("a"), {.mode = 0664})));
  ::umask(before);
  struct stat status{};
  REQUIRE(::stat(("/dev/shm/" + n.object("a")).c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0664);
  CHECK(n.bus.files().size() == 1);
  unlink_shm(n.object("a"));
}

TEST_CASE("an object gets its group with its name") {
  const names n;
  shm_file file = must(make_shm(n.temporary, 4096));
  const auto group = static_cast<std::int64_t>(::getegid());
  CHECK(must(place_shm(file, n.object("a"), {.group = group})));
  struct stat status{};
  REQUIRE(::stat(("/dev/shm/" + n.object("a")).c_str(), &status) == 0);
  CHECK(status.st_gid == ::getegid());
  unlink_shm(n.object("a"));
}

TEST_CASE("of two who give the same name the first wins, and the second leaves nothing") {
  const names n;
  shm_file first = must(make_shm(n.temporary, 4096));
  shm_file second = must(make_shm(n.temporary, 4096));
  first.memory.data()[0] = std::byte{1};
  CHECK(must(place_shm(first, n.object("a"), {})));
  CHECK_FALSE(must(place_shm(second, n.object("a"), {})));
  CHECK(n.bus.files() == std::vector<std::string>{n.object("a")});
  CHECK(must(map_by_name(n.object("a"), 4096, access::read)).data()[0] == std::byte{1});
  unlink_shm(n.object("a"));
}

TEST_CASE("a temporary is abandoned when its maker is dead, not before") {
  const names n;
  {
    const shm_file file = must(make_shm(n.temporary, 4096));
    remove_if_abandoned(file.name);
    CHECK(exists(file.name));
  }
  REQUIRE(n.bus.files().size() == 1);
  remove_if_abandoned(n.bus.files().front());
  CHECK(n.bus.files().empty());
}

TEST_CASE("a mapping keeps no lock alive, here or in a forked child") {
  const names n;
  shm_file file = must(make_shm(n.temporary, 4096));
  REQUIRE(must(place_shm(file, n.object("a"), {})));
  int hold[2];
  REQUIRE(::pipe(hold) == 0);
  child mapper([&] {
    ::close(hold[1]);
    char c;
    return ::read(hold[0], &c, 1) == 0 ? 0 : 1;  // until the parent is through
  });
  const mapping kept = std::move(file.memory);
  file.descriptor.reset();
  const fd other = must(open_shm(n.object("a"), access::read_write));
  CHECK(try_lock(other.get(), shm_lock_byte) == lock_status::taken);
  ::close(hold[1]);
  CHECK(mapper.wait().status == 0);
  ::close(hold[0]);
  unlink_shm(n.object("a"));
}

TEST_CASE("an object that was cut short is not mapped") {
  const names n;
  shm_file file = must(make_shm(n.temporary, 8192));
  REQUIRE(must(place_shm(file, n.object("a"), {})));
  REQUIRE(::truncate(("/dev/shm/" + n.object("a")).c_str(), 100) == 0);
  const auto memory = map_by_name(n.object("a"), 8192, access::read);
  REQUIRE_FALSE(memory);
  CHECK(memory.error().code() == errc::corrupt);
  CHECK(memory.error().message().find(n.object("a")) != std::string::npos);
  unlink_shm(n.object("a"));
}

TEST_CASE("an object that is not there is not found, and one without a name is known as such") {
  const names n;
  CHECK(open_shm(n.object("a"), access::read).error().code() == errc::not_found);
  shm_file file = must(make_shm(n.temporary, 4096));
  CHECK_FALSE(is_unlinked(file.descriptor.get()));
  unlink_shm(file.name);
  CHECK(is_unlinked(file.descriptor.get()));
}

TEST_CASE("objects are listed by the beginning of their names") {
  const names n;
  shm_file a = must(make_shm(n.temporary, 4096));
  REQUIRE(must(place_shm(a, n.object("a"), {})));
  shm_file ab = must(make_shm(n.temporary, 4096));
  REQUIRE(must(place_shm(ab, n.object("ab"), {})));
  CHECK(list_shm(n.object("a"))->size() == 2);
  CHECK(list_shm(n.object("ab")) == std::vector<std::string>{n.object("ab")});
  CHECK(list_shm(n.object("c"))->empty());
  for (const std::string& name : n.bus.files()) unlink_shm(name);
}
