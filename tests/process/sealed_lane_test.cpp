// Readers of a sealed lane try what they can to change it, and the publisher goes on.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/dying.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::inherited_memory;

namespace {

inherited_memory make_sealed() { return inherited_memory::create({.bytes = 8 << 20, .sealed = true}).value(); }

struct region {
  std::uintptr_t begin;
  std::uintptr_t end;
  std::string rights;
};

// The mapping that an address lies in.
region region_of(const void* address) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    region r{};
    char dash = 0;
    std::istringstream in(line);
    in >> std::hex >> r.begin >> dash >> r.end >> r.rights;
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    if (at >= r.begin && at < r.end) return r;
  }
  return {};
}

// The descriptor of this process, or of another, that is the memory of a lane; -1 if there is none.
int lane_descriptor(pid_t of, int flags) {
  for (int i = 0; i < 64; ++i) {
    const std::string path = "/proc/" + std::to_string(of) + "/fd/" + std::to_string(i);
    char target[256] = {};
    if (::readlink(path.c_str(), target, sizeof target - 1) < 0) continue;
    if (std::strstr(target, "quoit-lane") != nullptr) return ::open(path.c_str(), flags | O_CLOEXEC);
  }
  return -1;
}

// 0 if everything that would change the lane is refused.
int attack(const checked& message, pid_t publisher) {
  const region r = region_of(&message);
  void* const begin = reinterpret_cast<void*>(r.begin);
  const std::size_t bytes = r.end - r.begin;
  if (r.rights.substr(0, 4) != "r--s") return 1;
  if (::mprotect(begin, bytes, PROT_READ | PROT_WRITE) == 0) return 2;
  if (::madvise(begin, bytes, MADV_REMOVE) == 0) return 3;
  // Through /proc/self/mem the kernel writes over the rights of a mapping where it may: of this one it may not.
  const int self = ::open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  const std::uint64_t word = 1;
  if (self >= 0 && ::pwrite(self, &word, sizeof word, static_cast<off_t>(r.begin)) >= 0) return 4;
  ::close(self);
  // A reader can open the publisher's descriptor for writing too, as the same user.
  for (const int flags : {O_RDONLY, O_RDWR}) {
    const int lane = lane_descriptor(publisher, flags);
    if (lane < 0) return 5;
    if (::pwrite(lane, &word, sizeof word, 0) >= 0) return 6;
    if (::ftruncate(lane, 0) == 0) return 7;
    if (::ftruncate(lane, 1 << 30) == 0) return 8;
    if (::fallocate(lane, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0) return 9;
    if (::fcntl(lane, F_ADD_SEALS, F_SEAL_WRITE) == 0) return 10;
    if (::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, lane, 0) != MAP_FAILED) return 11;
    void* const readable = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, lane, 0);
    if (readable == MAP_FAILED) return 12;
    if (::mprotect(readable, bytes, PROT_READ | PROT_WRITE) == 0) return 13;
    ::munmap(readable, bytes);
    ::close(lane);
  }
  return message.intact() ? 0 : 14;
}

}  // namespace

TEST_CASE("a reader cannot change what it reads, and the publisher goes on") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory).value();
  auto pub = bus.publisher<checked>("t").value();
  const pid_t publisher = ::getpid();
  const auto reader = [&] {
    auto mine = quoit::bus::open(memory).value();
    auto sub = mine.subscriber<checked>("t").value();
    const auto first = sub.wait(60s);
    if (!first) return 20;
    if (const int what = attack(**first, publisher); what != 0) return what;
    const auto second = sub.wait(60s);
    return second && (*second)->number == 1 ? 0 : 21;
  };
  child other(reader);
  until([&] { return pub.subscribers() == 1; });
  REQUIRE(pub.publish(checked::make(0, 0)));
  REQUIRE(pub.publish(checked::make(0, 1)));
  CHECK(other.wait().status == 0);
  REQUIRE(pub.publish(checked::make(0, 2)));
}

TEST_CASE("the mapping that writes is not inherited") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory).value();
  auto pub = bus.publisher<checked>("t").value();
  auto loan = pub.try_loan().value();
  child other([&] { return region_of(&*loan).rights.empty() ? 0 : 1; });
  CHECK(other.wait().status == 0);
}

TEST_CASE("what a child has where its parent wrote is not unmapped with the parent's handles") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory).value();
  auto pub = std::make_unique<quoit::publisher<checked>>(bus.publisher<checked>("t").value());
  auto loan = std::make_unique<quoit::loan<checked>>(pub->try_loan().value());
  const region lane = region_of(&**loan);
  child other([&] {
    const std::size_t bytes = lane.end - lane.begin;
    auto* const mine = static_cast<char*>(::mmap(reinterpret_cast<void*>(lane.begin), bytes, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    if (mine == MAP_FAILED) return 1;
    mine[100] = 'x';
    loan.reset();
    pub.reset();
    return mine[100] == 'x' ? 0 : 2;
  });
  CHECK(other.wait().status == 0);
}

TEST_CASE("a reader that has not inherited the lane's descriptor finds it in its publisher") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory).value();
  auto sub = bus.subscriber<checked>("t").value();
  child publisher([&] {
    auto mine = quoit::bus::open(memory).value();
    auto pub = mine.publisher<checked>("t").value();
    for (std::uint64_t n = 0; n < 50; ++n) {
      if (!pub.publish_for(checked::make(0, n), 60s)) return 1;
    }
    until([&] { return pub.subscribers() == 0; });
    return 0;
  });
  for (std::uint64_t n = 0; n < 50; ++n) CHECK(sub.wait(60s).value()->number == n);
  {
    auto gone = std::move(sub);
  }
  CHECK(publisher.wait().status == 0);
}

TEST_CASE("a sealed lane of a dead publisher is read to its end, and nobody goes on with it") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory, {.recheck = 10ms}).value();
  auto sub = bus.subscriber<checked>("t").value();
  int published[2];
  REQUIRE(::pipe(published) == 0);
  child first([&] {
    auto mine = quoit::bus::open(memory).value();
    auto pub = mine.publisher<checked>("t").value();
    for (std::uint64_t n = 0; n < 10; ++n) {
      if (!pub.publish(checked::make(1, n))) return 1;
    }
    if (::write(published[1], "x", 1) != 1) return 2;
    for (;;) ::pause();
    return 0;
  });
  char c;
  REQUIRE(::read(published[0], &c, 1) == 1);
  auto before = sub.wait(60s).value();
  CHECK(before->number == 0);
  first.kill(SIGKILL);
  first.wait();
  auto late_one = bus.subscriber<checked>("t");
  REQUIRE_MESSAGE(late_one, late_one.error().message());
  auto& late = *late_one;
  auto heir = bus.publisher<checked>("t").value();
  CHECK(heir.sequence() == 0);
  REQUIRE(heir.publish(checked::make(2, 0)));
  std::uint64_t next = 1;
  bool from_heir = false;
  while (next < 10 || !from_heir) {
    const auto s = sub.wait(60s);
    REQUIRE_MESSAGE(s, s.error().message());
    CHECK((*s)->intact());
    if ((*s)->publisher == 1) {
      CHECK((*s)->number == next++);
    } else {
      from_heir = true;
    }
  }
  // Who came after the death has the heir's only.
  const auto got = late.wait(60s).value();
  CHECK(got->publisher == 2);
  CHECK_FALSE(late.poll().value());
  for (const int fd : published) ::close(fd);
}

TEST_CASE("a publisher of sealed lanes that takes its time to die is not missed") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory, {.recheck = 10ms}).value();
  auto sub = bus.subscriber<checked>("t").value();
  auto other = bus.publisher<checked>("t").value();
  int published[2];
  REQUIRE(::pipe(published) == 0);
  child dies([&] {
    auto mine = quoit::bus::open(memory).value();
    auto pub = mine.publisher<checked>("t").value();
    if (!pub.publish(checked::make(1, 0))) return 1;
    // A process that nobody told of the fork has all its descriptors: so its locks outlive it, as if it was dying.
    const auto copy = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (copy == 0) {
      for (;;) ::pause();
    }
    if (::write(published[1], &copy, sizeof copy) != sizeof copy) return 2;
    for (;;) ::pause();
    return 0;
  });
  pid_t copy = -1;
  REQUIRE(::read(published[0], &copy, sizeof copy) == sizeof copy);
  dies.kill(SIGKILL);
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(dies.pid()), &info, WEXITED | WNOWAIT) == 0);
  // Longer than one that cannot be seen to die would be waited for.
  CHECK(sub.wait(600ms).error() == errc::timed_out);
  REQUIRE(other.publish(checked::make(2, 0)));
  CHECK(sub.wait(60s).value()->publisher == 2);
  ::kill(copy, SIGKILL);
  until([&] {
    CHECK(sub.wait(20ms).error() == errc::timed_out);
    return sub.publishers() == 1;
  });
  CHECK(bus.subscriber<checked>("t"));
  for (const int fd : published) ::close(fd);
}

TEST_CASE("what a publisher left that nobody has opened yet is there as long as its bus") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory, {.recheck = 10ms}).value();
  auto sub = bus.subscriber<checked>("t").value();
  int left[2], go[2];
  REQUIRE(::pipe(left) == 0);
  REQUIRE(::pipe(go) == 0);
  child publisher([&] {
    ::close(go[1]);
    auto mine = quoit::bus::open(memory).value();
    for (std::uint64_t i = 0; i < 5; ++i) {
      auto pub = mine.publisher<checked>("t").value();
      if (!pub.publish(checked::make(i, 0))) return 1;
    }
    if (::write(left[1], "x", 1) != 1) return 2;
    char c;
    return ::read(go[0], &c, 1) == 0 ? 0 : 3;
  });
  char c;
  REQUIRE(::read(left[0], &c, 1) == 1);
  std::uint64_t sum = 0;
  for (int i = 0; i < 5; ++i) {
    const auto s = sub.wait(60s);
    REQUIRE_MESSAGE(s, s.error().message());
    CHECK((*s)->intact());
    sum += (*s)->publisher;
  }
  CHECK(sum == 10);
  ::close(go[1]);
  CHECK(publisher.wait().status == 0);
  for (const int fd : {left[0], left[1], go[0]}) ::close(fd);
}

TEST_CASE("publishers that die before anybody has opened their lanes leave no lane that stays") {
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory, {.recheck = 10ms}).value();
  auto sub = bus.subscriber<checked>("t", {.limits = {.publishers_max = 3}}).value();
  for (int i = 0; i < 12; ++i) {
    child dies([&] {
      auto mine = quoit::bus::open(memory).value();
      auto pub = mine.publisher<checked>("t");
      if (!pub) return std::fprintf(stderr, "%s\n", pub.error().message().c_str()), 1;
      static_cast<void>(pub->publish(checked::make(1, 1)));
      ::kill(::getpid(), SIGKILL);
      return 2;
    });
    CHECK(dies.wait().signal == SIGKILL);
    // The subscriber was not looking: it finds a lane that is out of reach, and no error.
    const auto got = sub.poll();
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK_FALSE(*got);
  }
  auto pub = bus.publisher<checked>("t").value();
  REQUIRE(pub.publish(checked::make(3, 3)));
  CHECK(sub.wait(60s).value()->publisher == 3);
}

TEST_CASE("a publisher that cannot be reached is an error with words, once") {
  if (::geteuid() != 0) QUOIT_SKIP("only root can become another user");
  const auto memory = make_sealed();
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  child stranger([&] {
    // Its /proc directory is root's, and it has inherited no lane, as there is none yet.
    if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) return 77;
    auto mine = quoit::bus::open(memory, {.recheck = 10ms});
    if (!mine) return std::fprintf(stderr, "%s\n", mine.error().message().c_str()), 1;
    auto sub = mine->subscriber<checked>("t");
    if (!sub) return 2;
    if (::write(ready[1], "x", 1) != 1) return 3;
    const auto got = sub->wait(60s);
    if (got || got.error() != errc::no_permission) return 4;
    if (got.error().message().find("/proc") == std::string::npos) return 5;
    return sub->wait(50ms).error() == errc::timed_out ? 0 : 6;
  });
  char c;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  auto bus = quoit::bus::open(memory).value();
  auto pub = bus.publisher<checked>("t").value();
  REQUIRE(pub.publish(checked::make(0, 0)));
  CHECK(stranger.wait().status == 0);
  for (const int fd : ready) ::close(fd);
}

TEST_CASE("a publisher in another pid namespace is out of reach, and not taken for one that dies") {
  // There its number is 2, which is a thread of the kernel here: one that lives and has no descriptors.
  if (::geteuid() != 0 || !quoit::detail::has_no_descriptors(2)) QUOIT_SKIP("process 2 is none of the kernel's");
  const auto memory = make_sealed();
  auto bus = quoit::bus::open(memory, {.recheck = 10ms}).value();
  auto sub = bus.subscriber<checked>("t").value();
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  child elsewhere([&] {
    if (::unshare(CLONE_NEWPID) != 0) return 77;
    child first([] {
      for (;;) ::pause();
      return 0;
    });
    child second([&] {
      auto mine = quoit::bus::open(memory).value();
      auto pub = mine.publisher<checked>("t").value();
      if (::getpid() != 2 || ::write(ready[1], "x", 1) != 1) return 1;
      for (;;) ::pause();
      return 0;
    });
    return second.wait().status;
  });
  ::close(ready[1]);
  char c;
  if (::read(ready[0], &c, 1) != 1) QUOIT_SKIP("a pid namespace of one's own is not permitted here");
  const auto got = sub.wait(5s);
  REQUIRE_FALSE(got);
  CHECK(got.error() == errc::no_permission);
  ::close(ready[0]);
}
