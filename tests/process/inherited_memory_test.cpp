// A bus in memory that was inherited or handed over: all that a bus does, and nothing in the file system.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <dirent.h>

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::inherited_memory;

namespace {

inherited_memory make(std::uint64_t mib = 16, bool sealed = false) {
  return inherited_memory::create({.bytes = mib << 20, .sealed = sealed}).value();
}

bool way_of_sealing() {
  bool sealed = false;
  SUBCASE("writable") { sealed = false; }
  SUBCASE("sealed") { sealed = true; }
  return sealed;
}

// Names in a directory, and what they lead to.
std::set<std::string> names_in(const std::string& directory) {
  std::set<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
  while (const dirent* const entry = open ? ::readdir(open.get()) : nullptr) names.insert(entry->d_name);
  return names;
}

int receive_in_order(quoit::subscriber<checked>& sub, std::uint64_t count) {
  for (std::uint64_t n = 0; n < count; ++n) {
    const auto s = sub.wait(60s);
    if (!s) return std::fprintf(stderr, "receiving: %s\n", s.error().message().c_str()), 1;
    if ((*s)->number != n || !(*s)->intact()) return 2;
  }
  return 0;
}

}  // namespace

TEST_CASE("a parent and its forked child publish to each other") {
  const auto memory = make(16, way_of_sealing());
  const auto before = names_in("/dev/shm");
  auto bus = quoit::bus::open(memory).value();
  auto out = bus.publisher<checked>("down").value();
  auto in = bus.subscriber<checked>("up").value();
  child other([&] {
    auto mine = quoit::bus::open(memory);
    if (!mine) return std::fprintf(stderr, "%s\n", mine.error().message().c_str()), 10;
    auto sub = mine->subscriber<checked>("down");
    auto pub = mine->publisher<checked>("up");
    if (!sub || !pub) return 11;
    for (std::uint64_t n = 0; n < 2000; ++n) {
      const auto s = sub->wait(60s);
      if (!s || (*s)->number != n || !(*s)->intact()) return 12;
      if (!pub->publish_for(checked::make(2, n), 60s)) return 13;
    }
    // Until the parent has all of it: a sealed lane goes with its publisher.
    until([&] { return pub->subscribers() == 0; });
    return 0;
  });
  until([&] { return out.subscribers() == 1; });
  std::uint64_t sent = 0;
  for (std::uint64_t n = 0; n < 2000;) {
    while (sent < 2000 && sent < n + 100) {
      REQUIRE(out.publish_for(checked::make(1, sent), 60s));
      ++sent;
    }
    const auto s = in.wait(60s);
    REQUIRE(s);
    CHECK((*s)->number == n);
    CHECK((*s)->intact());
    ++n;
  }
  for (const std::string& name : names_in("/dev/shm")) {
    if (!before.contains(name)) CHECK_MESSAGE(name.find("inherited") == std::string::npos, name);
  }
  {
    auto gone = std::move(in);
  }
  CHECK(other.wait().status == 0);
}

TEST_CASE("what was opened in a parent answers forked in its child, and the memory can be used there") {
  const auto memory = make(16, way_of_sealing());
  auto bus = quoit::bus::open(memory).value();
  auto pub = std::make_unique<quoit::publisher<checked>>(bus.publisher<checked>("t").value());
  auto sub = std::make_unique<quoit::subscriber<checked>>(bus.subscriber<checked>("t").value());
  REQUIRE(pub->publish(checked::make(0, 0)));
  auto loan = std::make_unique<quoit::loan<checked>>(pub->try_loan().value());
  child forked([&] {
    if (pub->try_loan().error() != errc::forked) return 1;
    if (pub->loan_for(1s).error() != errc::forked) return 2;
    if (pub->publish(checked::make(9, 9)).error() != errc::forked) return 3;
    if (sub->poll().error() != errc::forked) return 4;
    if (sub->wait(1s).error() != errc::forked) return 5;
    if (bus.wait_any(1s, *sub).error() != errc::forked) return 6;
    if (bus.publisher<checked>("t").error() != errc::forked) return 7;
    if (bus.subscriber<checked>("t").error() != errc::forked) return 8;
    if (pub->subscribers() > 1 || sub->publishers() > 1 || pub->sequence() > 2) return 9;
    bus.clean_up();
    std::move(*loan).publish();
    loan.reset();
    pub.reset();
    sub.reset();
    {
      auto gone = std::move(bus);
    }
    auto mine = quoit::bus::open(memory);
    if (!mine) return 10;
    auto own = mine->publisher<checked>("t");
    if (!own || !own->publish(checked::make(1, 100))) return 11;
    until([&] { return own->subscribers() == 0; });
    return 0;
  });
  CHECK(sub->wait(60s).value()->number == 0);
  CHECK(sub->wait(60s).value()->number == 100);
  **loan = checked::make(0, 1);
  std::move(*loan).publish();
  CHECK(sub->wait(60s).value()->number == 1);
  sub.reset();
  CHECK(forked.wait().status == 0);
}

TEST_CASE("a sample that is held over fork can be read in the child, whatever became of the lane") {
  const auto memory = make(1);
  const auto free_before = memory.free_bytes();
  auto bus = std::make_unique<quoit::bus>(quoit::bus::open(memory).value());
  auto pub = std::make_unique<quoit::publisher<checked>>(bus->publisher<checked>("t").value());
  auto sub = std::make_unique<quoit::subscriber<checked>>(bus->subscriber<checked>("t").value());
  REQUIRE(pub->publish(checked::make(7, 7)));
  auto held = std::make_unique<quoit::sample<checked>>(sub->poll().value());
  int go[2];
  REQUIRE(::pipe(go) == 0);
  child forked([&] {
    ::close(go[1]);
    char c;
    if (::read(go[0], &c, 1) != 1) return 1;
    if (!(*held)->intact() || (*held)->number != 7) return 2;
    held.reset();
    pub.reset();
    sub.reset();
    bus.reset();
    if (::read(go[0], &c, 1) != 0) return 3;
    return 0;
  });
  // The parent leaves, and what it had is filled by others, as far as there is room.
  held.reset();
  pub.reset();
  sub.reset();
  bus.reset();
  CHECK(memory.free_bytes() < free_before);
  {
    auto again = quoit::bus::open(memory, {.nodes_max = 4}).value();
    std::vector<quoit::publisher<checked>> many;
    for (;;) {
      auto p = again.publisher<checked>("u", {.capacity_bytes = 16384, .limits = {.subscriptions_max = 1}});
      if (!p) break;
      while (p->publish(checked::make(9, 9)) && p->sequence() < 1000) {
      }
      many.push_back(std::move(*p));
    }
    CHECK(many.size() > 2);
  }
  REQUIRE(::write(go[1], "x", 1) == 1);
  // It lets go of what it inherited.
  until([&] { return memory.free_bytes() == free_before; });
  ::close(go[1]);
  CHECK(forked.wait().status == 0);
  ::close(go[0]);
}

TEST_CASE("when the last one has left, all memory is free again, and the bus can be opened anew") {
  const auto memory = make(4, way_of_sealing());
  const auto before = memory.free_bytes();
  struct stat status{};
  REQUIRE(::fstat(memory.descriptor(), &status) == 0);
  const auto blocks_before = status.st_blocks;
  for (int round = 0; round < 3; ++round) {
    {
      auto bus = quoit::bus::open(memory).value();
      auto pub = bus.publisher<checked>("t").value();
      auto sub = bus.subscriber<checked>("t").value();
      REQUIRE(pub.publish(checked::make(0, 0)));
      CHECK(sub.poll().value()->intact());
      CHECK(memory.free_bytes() < before);
      const auto info = quoit::inspect(memory).value();
      CHECK(info.nodes.size() == 1);
      REQUIRE(info.topics.size() == 1);
      CHECK(info.topics.front().publishers.front().messages == 1);
      CHECK(bus.transport().used == quoit::transport::shared_memory);
      CHECK(bus.transport().why.find("inherited") != std::string::npos);
    }
    CHECK(memory.free_bytes() == before);
    REQUIRE(::fstat(memory.descriptor(), &status) == 0);
    CHECK(status.st_blocks == blocks_before);
    CHECK(quoit::inspect(memory).error() == errc::not_found);
  }
}

TEST_CASE("thousands of topics and publishers come and go in a small memory") {
  const auto memory = make(2, way_of_sealing());
  const auto before = memory.free_bytes();
  auto bus = quoit::bus::open(memory, {.nodes_max = 8}).value();
  auto sub = bus.subscriber<checked>("steady", {.limits = {.subscriptions_max = 4}}).value();
  const int rounds = fast() ? 500 : 3000;
  for (int i = 0; i < rounds; ++i) {
    auto other = bus.publisher<checked>("topic" + std::to_string(i % 7),
                                        {.limits = {.publishers_max = 2, .subscriptions_max = 2}});
    REQUIRE_MESSAGE(other, other.error().message());
    auto pub = bus.publisher<checked>("steady", {.capacity_bytes = i % 2 == 0 ? 16384u : 65536u});
    REQUIRE_MESSAGE(pub, pub.error().message());
    REQUIRE(pub->publish(checked::make(1, static_cast<std::uint64_t>(i))));
    const auto s = sub.poll();
    REQUIRE(s);
    CHECK((*s)->intact());
    CHECK((*s)->number == static_cast<std::uint64_t>(i));
    // Its publisher is still there: the lane is left at the next round.
    CHECK_FALSE(sub.poll().value());
  }
  {
    auto gone = std::move(sub);
    auto too = std::move(bus);
  }
  CHECK(memory.free_bytes() == before);
}

TEST_CASE("memory that is full says what is needed, what is free, and what to change") {
  const auto memory = make(1);
  auto bus = quoit::bus::open(memory, {.nodes_max = 4}).value();
  const auto big = bus.publisher<checked>("t", {.capacity_bytes = 4 << 20});
  REQUIRE(!big);
  CHECK(big.error() == errc::no_space);
  CHECK(big.error().value() > 4u << 20);
  CHECK(big.error().message().find("inherited_memory_options bytes") != std::string::npos);
  CHECK(big.error().message().find("capacity_bytes") != std::string::npos);
  // Nothing of it is left.
  auto small = bus.publisher<checked>("t", {.capacity_bytes = 16384});
  REQUIRE(small);
  CHECK(small->publish(checked::make(0, 0)));
}

namespace {

int descriptor_of_string(const char* text) { return std::atoi(text); }

// What the program does that a child becomes: the descriptor is all that it has.
int subscribe_after_exec(int descriptor) {
  auto memory = inherited_memory::from_descriptor(descriptor);
  if (!memory) return std::fprintf(stderr, "%s\n", memory.error().message().c_str()), 40;
  if ((::fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0) return 41;
  auto bus = quoit::bus::open(*memory);
  if (!bus) return 42;
  auto sub = bus->subscriber<checked>("t");
  if (!sub) return 43;
  return receive_in_order(*sub, 100);
}

// Sends a descriptor as an unrelated process would be sent it.
bool send_descriptor(int socket, int descriptor) {
  char byte = 'x';
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
  return ::sendmsg(socket, &message, 0) == 1;
}

int receive_descriptor(int socket) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket, &message, 0) != 1 || CMSG_FIRSTHDR(&message) == nullptr) return -1;
  int descriptor = -1;
  std::memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof descriptor);
  return descriptor;
}

}  // namespace

// Not a test of its own: the one below executes this program again with it.
TEST_CASE("a subscriber behind exec" * doctest::skip()) {
  const char* const number = std::getenv("QUOIT_TEST_MEMORY");
  REQUIRE(number != nullptr);
  std::_Exit(subscribe_after_exec(descriptor_of_string(number)));
}

TEST_CASE("a program that was given the descriptor through exec is on the bus") {
  const auto memory = make(16, way_of_sealing());
  auto bus = quoit::bus::open(memory).value();
  auto pub = bus.publisher<checked>("t").value();
  const int descriptors_before = static_cast<int>(names_in("/proc/self/fd").size());
  child program([&] {
    if (!memory.keep_through_exec()) return 50;
    const std::string number = std::to_string(memory.descriptor());
    ::setenv("QUOIT_TEST_MEMORY", number.c_str(), 1);
    ::execl("/proc/self/exe", "test", "--no-skip", "--test-case=a subscriber behind exec", nullptr);
    return 51;
  });
  until([&] { return pub.subscribers() == 1; });
  for (std::uint64_t n = 0; n < 100; ++n) REQUIRE(pub.publish_for(checked::make(0, n), 60s));
  CHECK(program.wait().status == 0);
  // Here it still is closed by exec.
  CHECK((::fcntl(memory.descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(static_cast<int>(names_in("/proc/self/fd").size()) == descriptors_before);
}

TEST_CASE("a process that was sent the descriptor is on the bus") {
  // Forked before there is any memory: it has inherited nothing of it.
  int sockets[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0);
  const bool sealed = way_of_sealing();
  child stranger([&] {
    const int descriptor = receive_descriptor(sockets[1]);
    return descriptor < 0 ? 60 : subscribe_after_exec(::fcntl(descriptor, F_DUPFD_CLOEXEC, 100));
  });
  const auto memory = make(16, sealed);
  auto bus = quoit::bus::open(memory).value();
  auto pub = bus.publisher<checked>("t").value();
  REQUIRE(send_descriptor(sockets[0], memory.descriptor()));
  until([&] { return pub.subscribers() == 1; });
  for (std::uint64_t n = 0; n < 100; ++n) REQUIRE(pub.publish_for(checked::make(0, n), 60s));
  CHECK(stranger.wait().status == 0);
  for (const int s : sockets) ::close(s);
}

TEST_CASE("what is no inherited memory is refused with words, and stays the caller's") {
  const auto refused = [](int descriptor) {
    const auto e = inherited_memory::from_descriptor(descriptor).error();
    CHECK((descriptor < 0 || ::fcntl(descriptor, F_GETFD) >= 0));
    CHECK(!e.message().empty());
    const quoit::errc code = e.code();
    if (descriptor >= 0) ::close(descriptor);
    return code;
  };
  CHECK(refused(-1) == errc::invalid_argument);
  CHECK(refused(::open("/dev/null", O_RDWR | O_CLOEXEC)) == errc::invalid_argument);
  const auto memfd = [](off_t bytes, int seals) {
    const int descriptor = ::memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(::ftruncate(descriptor, bytes) == 0);
    CHECK(::fcntl(descriptor, F_ADD_SEALS, seals) == 0);
    return descriptor;
  };
  constexpr int fixed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  // One that could be cut short is refused, whatever is in it.
  CHECK(refused(memfd(1 << 20, F_SEAL_GROW | F_SEAL_SEAL)) == errc::invalid_argument);
  CHECK(refused(memfd(1 << 20, fixed)) == errc::corrupt);
  CHECK(refused(memfd(4096, fixed)) == errc::corrupt);
  CHECK(refused(memfd((1 << 20) + 1, fixed)) == errc::corrupt);
  CHECK(inherited_memory::create({.bytes = 4096}).error() == errc::invalid_argument);
  CHECK(inherited_memory::create({.bytes = ~std::uint64_t{0}}).error() == errc::invalid_argument);
}

TEST_CASE("somebody who is stopped in the middle of making something keeps others from making, and from nothing else") {
  const auto memory = make();
  auto bus = quoit::bus::open(memory, {.lock_timeout = 50ms}).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  // As the lock of the memory would be held.
  const int other = ::open(("/proc/self/fd/" + std::to_string(memory.descriptor())).c_str(), O_RDWR | O_CLOEXEC);
  struct flock byte{};
  byte.l_type = F_WRLCK;
  byte.l_start = off_t{1} << 40;
  byte.l_len = 1;
  REQUIRE(::fcntl(other, F_OFD_SETLK, &byte) == 0);
  CHECK(bus.publisher<checked>("u").error() == errc::busy);
  REQUIRE(pub.publish(checked::make(0, 0)));
  CHECK(sub.poll().value()->intact());
  auto another = bus.subscriber<checked>("t");
  CHECK(another);
  CHECK(quoit::inspect(memory).value().topics.size() == 1);
  {
    auto gone = std::move(pub);
  }
  ::close(other);
  CHECK(bus.publisher<checked>("u"));
}

TEST_CASE("nobody can cut the memory short") {
  const auto memory = make(1);
  const int descriptor = memory.descriptor();
  CHECK((::ftruncate(descriptor, 4096) != 0 && errno == EPERM));
  CHECK((::ftruncate(descriptor, 64 << 20) != 0 && errno == EPERM));
  CHECK((::fcntl(descriptor, F_ADD_SEALS, F_SEAL_WRITE) != 0 && errno == EPERM));
}

TEST_CASE("a hole where the directory or a lane was is an error, and no fault") {
  const auto memory = make(4);
  auto bus = quoit::bus::open(memory, {.recheck = 5ms}).value();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  REQUIRE(pub.publish(checked::make(0, 0)));
  REQUIRE(::fallocate(memory.descriptor(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4 << 20) == 0);
  // Whatever it answers, it answers.
  static_cast<void>(sub.poll());
  static_cast<void>(pub.publish(checked::make(0, 1)));
  static_cast<void>(bus.publisher<checked>("u"));
  static_cast<void>(quoit::inspect(memory));
  bus.clean_up();
  const int copy = ::fcntl(memory.descriptor(), F_DUPFD_CLOEXEC, 0);
  CHECK(inherited_memory::from_descriptor(copy).error() == errc::corrupt);
  ::close(copy);
}

TEST_CASE("whatever is written into the directory, opening and closing end, and nothing faults") {
  const int rounds = fast() ? 60 : 400;
  for (int round = 0; round < rounds; ++round) {
    child victim([round] {
      ::alarm(60);
      std::mt19937_64 random(static_cast<unsigned>(round));
      const auto memory = make(1);
      auto bus = quoit::bus::open(memory, {.nodes_max = 4, .lock_timeout = 20ms}).value();
      auto pub = bus.publisher<checked>("t", {.capacity_bytes = 16384, .limits = {.subscriptions_max = 2}});
      auto sub = bus.subscriber<checked>("t");
      auto* const bytes = static_cast<unsigned char*>(
          ::mmap(nullptr, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, memory.descriptor(), 0));
      for (int i = 0; i < 40; ++i) {
        // The entries that are in use, in whole words or in bytes; what is read once at the beginning stays.
        const std::size_t at = 64 + random() % 2048 / 8 * 8 + (random() % 2 == 0 ? 4096 - 64 : 0);
        const std::uint64_t values[] = {0, ~std::uint64_t{0}, random(), random() % 64, random() % 4096 * 4096};
        const std::uint64_t value = values[random() % 5];
        std::memcpy(bytes + at, &value, sizeof value);
        if (pub) static_cast<void>(pub->publish(checked::make(0, 0)));
        if (sub) static_cast<void>(sub->poll());
        auto p = bus.publisher<checked>("u" + std::to_string(random() % 3), {.capacity_bytes = 16384});
        auto s = bus.subscriber<checked>("t");
        auto b = quoit::bus::open(memory, {.lock_timeout = 20ms});
        static_cast<void>(quoit::inspect(memory));
        static_cast<void>(memory.free_bytes());
        bus.clean_up();
        if (random() % 4 == 0) pub = bus.publisher<checked>("t");
      }
      return 0;
    });
    const ending how = victim.wait();
    REQUIRE_MESSAGE(how.status == 0, "round ", round, " status ", how.status, " signal ", how.signal);
  }
}
