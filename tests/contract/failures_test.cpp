// Peers that die, sockets that others left or bound, and descriptors that run out.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "contract/ways.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"
#include "transport/unix/wire.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;
using quoit::transport;

namespace {

int bound_socket(const std::string& path) {
  const int s = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::bind(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return -1;
  ::listen(s, 8);
  return s;
}

int connected_socket(const std::string& path) {
  const int s = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return ::connect(s, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? s : -1;
}

std::string socket_of(const meeting& here, char role) {
  for (const std::string& name : names_in(here.topic_directory())) {
    if (name[0] == role && name.ends_with(".s")) return here.topic_directory() + "/" + name;
  }
  return {};
}

// A participant's record and socket as another process would have them: it lives, and does not answer.
class silent_publisher {
 public:
  silent_publisher(const std::string& topic_directory, std::uint32_t version)
      : path_(topic_directory + "/p0123456789abcdef"),
        record_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
        socket_(bound_socket(path_ + ".s")) {
    quoit::detail::member_record r{};
    r.magic = quoit::detail::member_magic;
    r.version = version;
    r.role = quoit::detail::member_role::publisher;
    r.policy = static_cast<std::uint32_t>(quoit::policy::block);
    r.lossy_allowed = 1;
    struct flock first{};
    first.l_type = F_WRLCK;
    first.l_len = 1;
    REQUIRE(::fcntl(record_, F_OFD_SETLK, &first) == 0);
    REQUIRE(::write(record_, &r, sizeof r) == sizeof r);
    REQUIRE(socket_ >= 0);
  }
  ~silent_publisher() {
    ::unlink(path_.c_str());
    ::unlink((path_ + ".s").c_str());
    ::close(record_);
    ::close(socket_);
  }
  silent_publisher(const silent_publisher&) = delete;
  silent_publisher& operator=(const silent_publisher&) = delete;

  // It goes on: answers whoever waits, and publishes one message.
  void answer(const checked& message) const {
    const int peer = ::accept(socket_, nullptr, nullptr);
    quoit::detail::hello h{};
    REQUIRE(::recv(peer, &h, sizeof h, 0) == sizeof h);
    quoit::detail::welcome w{};
    w.magic = quoit::detail::welcome_magic;
    w.version = quoit::detail::wire_version;
    w.payload_bytes_max = sizeof(checked);
    w.payload_alignment = alignof(checked);
    w.frame_alignment = 8;
    w.reliable = 1;
    REQUIRE(::send(peer, &w, sizeof w, 0) == sizeof w);
    const quoit::detail::packet_head head{};
    std::byte packet[sizeof head + sizeof message];
    std::memcpy(packet, &head, sizeof head);
    std::memcpy(packet + sizeof head, &message, sizeof message);
    REQUIRE(::send(peer, packet, sizeof packet, 0) == sizeof packet);
    ::close(peer);
  }

 private:
  std::string path_;
  int record_;
  int socket_;
};

}  // namespace

TEST_CASE("a publisher that is killed leaves what it sent, and nothing half") {
  const meeting here(this_way());
  auto bus = here.open();
  auto sub = bus.subscriber<checked>("t").value();
  for (int round = 0; round < 5; ++round) {
    child dies([&]() -> int {
      auto its = here.open();
      auto pub = its.publisher<checked>("t", {.capacity_bytes = 4096}).value();
      for (std::uint64_t n = 0;; ++n) static_cast<void>(pub.publish_for(checked::make(1, n), 10s));
    });
    std::uint64_t next = 0;
    while (next < 500 + static_cast<std::uint64_t>(round) * 37) {
      const auto got = sub.wait();
      REQUIRE(got.has_value());
      REQUIRE((*got)->intact());
      REQUIRE((*got)->number == next++);
    }
    dies.kill();
    dies.wait();
    bus.clean_up();
    for (;;) {
      const auto got = sub.wait(100ms);
      if (!got) break;
      REQUIRE((*got)->intact());
      REQUIRE((*got)->number == next++);
    }
    CHECK(sub.lost() == 0);
    until([&] { return sub.publishers() == 0; });
  }
}

TEST_CASE("a publisher goes on when a subscriber that holds it up is killed") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t", {.capacity_bytes = 4096}).value();
  child dies([&]() -> int {
    auto its = here.open();
    auto sub = its.subscriber<checked>("t").value();
    for (;;) ::pause();
  });
  until([&] { return pub.subscribers() == 1; });
  std::uint64_t n = 0;
  while (pub.publish_for(checked::make(1, n), 30ms)) ++n;
  CHECK(pub.blocked_by().pid == static_cast<std::uint32_t>(dies.pid()));
  dies.kill();
  dies.wait();
  CHECK(pub.publish_for(checked::make(1, n), 30s).has_value());
  until([&] {
    bus.clean_up();
    return pub.subscribers() == 0;
  });
}

TEST_CASE("several processes publish and receive, and nothing is left of them") {
  const meeting here(this_way());
  std::vector<std::unique_ptr<child>> all;
  for (int s = 0; s < 2; ++s) {
    all.push_back(std::make_unique<child>([&] {
      auto bus = here.open();
      auto sub = bus.subscriber<checked>("t").value();
      std::uint64_t next[2] = {};
      while (next[0] < 500 || next[1] < 500) {
        const auto got = sub.wait();
        if (!got || (*got)->publisher > 1 || (*got)->number != next[(*got)->publisher]++) return 1;
      }
      return 0;
    }));
  }
  for (std::uint64_t p = 0; p < 2; ++p) {
    all.push_back(std::make_unique<child>([&, p] {
      auto bus = here.open();
      auto pub = bus.publisher<checked>("t").value();
      until([&] { return pub.subscribers() == 2; });
      for (std::uint64_t n = 0; n < 500; ++n) {
        if (!pub.publish_for(checked::make(p, n), 30s)) return 1;
      }
      // A sealed lane goes with its publisher.
      if (here.sealed()) until([&] { return pub.subscribers() == 0; });
      return 0;
    }));
  }
  for (auto& c : all) CHECK(c->wait().status == 0);
}

TEST_CASE("a forked child answers forked, and its end is not its parent's") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  child forked([&] {
    if (sub.poll().error().code() != errc::forked) return 1;
    return pub.publish(checked::make(1, 0)).error().code() == errc::forked ? 0 : 2;
  });
  CHECK(forked.wait().status == 0);
  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait().value()->number == 1);
}

TEST_CASE("descriptors that run out are an error that says so, and not an end") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  std::vector<int> taken;
  for (int d = ::open("/dev/null", O_RDONLY | O_CLOEXEC); d >= 0; d = ::dup(d)) taken.push_back(d);
  const auto another = bus.publisher<checked>("t");
  const auto yet_another = bus.subscriber<checked>("t");
  const bool went = pub.publish(checked::make(1, 7)).has_value();
  for (const int d : taken) ::close(d);
  REQUIRE_FALSE(another);
  REQUIRE_FALSE(yet_another);
  CHECK((another.error().code() == errc::limit_reached || another.error().code() == errc::system));
  CHECK(another.error().system_errno() == EMFILE);
  REQUIRE(went);
  CHECK(sub.wait().value()->number == 7);
  CHECK(bus.publisher<checked>("t").has_value());
}

TEST_CASE("somebody without descriptors to see who is on a topic does not make it his own") {
  const meeting here(this_way());
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  for (std::size_t left = 0; left < 12; ++left) {
    std::vector<int> taken;
    for (int d = ::open("/dev/null", O_RDONLY | O_CLOEXEC); d >= 0; d = ::dup(d)) taken.push_back(d);
    for (std::size_t i = 0; i < left; ++i) {
      ::close(taken.back());
      taken.pop_back();
    }
    CHECK_FALSE(bus.publisher<std::uint64_t>("t"));
    CHECK_FALSE(bus.subscriber<std::uint64_t>("t"));
    for (const int d : taken) ::close(d);
    const auto same = bus.subscriber<checked>("t");
    REQUIRE_MESSAGE(same, left, " descriptors left: ", same.error().message());
  }
}

TEST_CASE("two hundred publishers in a process each reach their subscriber") {
  const meeting here(this_way());
  auto bus = here.open();
  std::vector<quoit::publisher<checked>> pubs;
  std::vector<quoit::subscriber<checked>> subs;
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  const auto before = descriptors.rlim_cur;
  descriptors.rlim_cur = std::min<rlim_t>(descriptors.rlim_max, 4096);
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  if (descriptors.rlim_cur < 2000) QUOIT_SKIP("this process may have too few descriptors");
  for (int i = 0; i < 200; ++i) {
    pubs.push_back(bus.publisher<checked>("t" + std::to_string(i), {.capacity_bytes = 4096}).value());
    subs.push_back(bus.subscriber<checked>("t" + std::to_string(i)).value());
  }
  for (std::uint64_t n = 0; n < 3; ++n) {
    for (std::size_t i = 0; i < pubs.size(); ++i) REQUIRE(pubs[i].publish(checked::make(i, n)));
    for (std::size_t i = 0; i < subs.size(); ++i) {
      const auto got = subs[i].wait(10s);
      REQUIRE(got);
      CHECK((*got)->publisher == i);
      CHECK((*got)->number == n);
    }
  }
  subs.clear();
  pubs.clear();
  descriptors.rlim_cur = before;
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
}

// ---- of the kernel path only ---------------------------------------------------------------------------

TEST_CASE("what dead processes left is removed by whoever comes next") {
  const meeting here(transport::kernel);
  child dies([&]() -> int {
    auto bus = here.open();
    auto pub = bus.publisher<quoit::text>("t").value();
    auto sub = bus.subscriber<quoit::text>("t").value();
    for (;;) ::pause();
  });
  until([&] { return names_in(here.topic_directory()).size() == 5; });
  dies.kill();
  dies.wait();
  CHECK(names_in(here.topic_directory()).size() == 5);
  // Of another type: the dead have no say.
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait().value()->number == 1);
  CHECK(names_in(here.topic_directory()).size() == 5);
}

TEST_CASE("a socket that somebody else bound among ours is not talked to, and not left") {
  const meeting here(transport::kernel);
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  const int foreign = bound_socket(here.topic_directory() + "/s0123456789abcdef.s");
  REQUIRE(foreign >= 0);
  auto sub = bus.subscriber<checked>("t").value();
  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait().value()->number == 1);
  ::close(foreign);
}

TEST_CASE("a directory that is not ours alone is refused") {
  const meeting here(transport::kernel);
  const std::string elsewhere = "/tmp/quoit-test-" + std::to_string(::getpid());
  ::mkdir(elsewhere.c_str(), 0777);
  ::chmod(elsewhere.c_str(), 0777);
  ::setenv("QUOIT_SOCKETS", elsewhere.c_str(), 1);
  {
    auto bus = quoit::bus::open(here.name(), here.options()).value();
    const auto pub = bus.publisher<checked>("t");
    REQUIRE_FALSE(pub);
    CHECK(pub.error().code() == errc::no_permission);
    CHECK(pub.error().message().find(elsewhere) != std::string::npos);
    ::rmdir(elsewhere.c_str());
    const std::string too_long = elsewhere + std::string(90, 'x');
    ::setenv("QUOIT_SOCKETS", too_long.c_str(), 1);
    const auto longer = bus.publisher<checked>("t");
    REQUIRE_FALSE(longer);
    CHECK(longer.error().code() == errc::invalid_argument);
    ::rmdir(too_long.c_str());
  }
  ::unsetenv("QUOIT_SOCKETS");
}

TEST_CASE("a peer of another version is refused by both sides, and the others go on") {
  const meeting here(transport::kernel);
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();

  const int as_subscriber = connected_socket(socket_of(here, 'p'));
  REQUIRE(as_subscriber >= 0);
  quoit::detail::hello h{};
  h.magic = quoit::detail::hello_magic;
  h.version = quoit::detail::wire_version + 1;
  REQUIRE(::send(as_subscriber, &h, sizeof h, 0) == sizeof h);
  quoit::detail::welcome answer{};
  REQUIRE(::recv(as_subscriber, &answer, sizeof answer, 0) == sizeof answer);
  CHECK(answer.refusal == static_cast<std::uint32_t>(errc::newer_version));
  ::close(as_subscriber);

  const int as_publisher = connected_socket(socket_of(here, 's'));
  REQUIRE(as_publisher >= 0);
  quoit::detail::welcome w{};
  w.magic = quoit::detail::welcome_magic;
  w.version = quoit::detail::wire_version + 1;
  REQUIRE(::send(as_publisher, &w, sizeof w, 0) == sizeof w);
  const auto got = sub.wait(10s);
  REQUIRE_FALSE(got);
  CHECK(got.error().code() == errc::newer_version);
  ::close(as_publisher);

  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait().value()->number == 1);
}

TEST_CASE("a publisher that does not answer keeps nobody from opening, and joins when it does") {
  const meeting here(transport::kernel);
  auto options = here.options();
  options.lock_timeout = 50ms;
  auto bus = quoit::bus::open(here.name(), options).value();
  auto pub = bus.publisher<checked>("t").value();
  const silent_publisher silent(here.topic_directory(), quoit::detail::wire_version);
  auto sub = bus.subscriber<checked>("t").value();
  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait(10s).value()->number == 1);
  silent.answer(checked::make(2, 2));
  CHECK(sub.wait(10s).value()->number == 2);
}

TEST_CASE("a participant whose record is of another version is an error that says so") {
  const meeting here(transport::kernel);
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  const silent_publisher newer(here.topic_directory(), quoit::detail::wire_version + 1);
  const auto sub = bus.subscriber<checked>("t");
  REQUIRE_FALSE(sub);
  CHECK(sub.error().code() == errc::newer_version);
}

TEST_CASE("who comes while its publisher has no descriptors is taken later") {
  const meeting here(transport::kernel);
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  int go[2];
  REQUIRE(::pipe(go) == 0);
  child comes([&] {
    char c;
    if (::read(go[0], &c, 1) != 1) return 1;
    auto its = here.open();
    auto sub = its.subscriber<checked>("t").value();
    const auto got = sub.wait(30s);
    return got && (*got)->number == 7 ? 0 : 2;
  });
  std::vector<int> taken;
  for (int d = ::open("/dev/null", O_RDONLY | O_CLOEXEC); d >= 0; d = ::dup(d)) taken.push_back(d);
  const bool told = ::write(go[1], "x", 1) == 1;
  // Its connection waits in the kernel by then.
  std::this_thread::sleep_for(200ms);
  const auto without = pub.subscribers();
  for (const int d : taken) ::close(d);
  ::close(go[0]);
  ::close(go[1]);
  CHECK(told);
  CHECK(without == 0);
  until([&] { return pub.subscribers() == 1; });
  REQUIRE(pub.publish(checked::make(1, 7)));
  CHECK(comes.wait().status == 0);
}

TEST_CASE("bytes that no version sends are corrupt, and the others go on") {
  const meeting here(transport::kernel);
  auto bus = here.open();
  auto pub = bus.publisher<checked>("t").value();
  auto sub = bus.subscriber<checked>("t").value();
  quoit::detail::welcome w{};
  w.magic = quoit::detail::welcome_magic;
  w.version = quoit::detail::wire_version;
  w.payload_bytes_max = sizeof(checked);
  w.payload_alignment = alignof(checked);
  w.frame_alignment = 8;
  w.reliable = 1;
  const quoit::detail::packet_head backwards{5, 0, 9};
  std::byte packet[sizeof backwards + sizeof(checked)] = {};
  std::memcpy(packet, &backwards, sizeof backwards);
  for (const std::size_t bytes : {sizeof packet, sizeof packet - 1, std::size_t{3}}) {
    const int liar = connected_socket(socket_of(here, 's'));
    REQUIRE(::send(liar, &w, sizeof w, 0) == sizeof w);
    REQUIRE(::send(liar, packet, bytes, 0) == static_cast<ssize_t>(bytes));
    const auto got = sub.wait(10s);
    REQUIRE_FALSE(got);
    CHECK(got.error().code() == errc::corrupt);
    ::close(liar);
  }
  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait().value()->number == 1);
}

TEST_CASE("a message larger than a packet is an error that names the limit") {
  struct huge {
    std::byte bytes[4 << 20];
  };
  const meeting here(transport::kernel);
  auto bus = here.open();
  const auto pub = bus.publisher<huge>("t");
  REQUIRE_FALSE(pub);
  CHECK(pub.error().code() == errc::message_too_large);
  CHECK(pub.error().message().find("wmem_max") != std::string::npos);
  auto blobs = bus.publisher<quoit::bytes>("blobs", {.capacity_bytes = 256 << 20}).value();
  const auto most = blobs.message_bytes_max();
  CHECK(most < sizeof(huge));
  const auto refused = blobs.try_loan_bytes(most + 1);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == errc::message_too_large);
  CHECK(refused.error().value() == most);
  auto sub = bus.subscriber<quoit::bytes>("blobs").value();
  REQUIRE(blobs.publish(std::vector<std::byte>(most)));
  CHECK((*sub.wait().value()).size() == most);
}

TEST_CASE("automatic takes shared memory, or joins those who are on the kernel path") {
  const meeting here(transport::automatic);
  {
    auto bus = here.open();
    CHECK(bus.transport().used == transport::shared_memory);
  }
  const meeting kernel(transport::kernel);
  auto first = kernel.open();
  auto pub = first.publisher<checked>("t").value();
  auto options = kernel.options();
  options.transport = transport::automatic;
  auto second = quoit::bus::open(kernel.name(), options).value();
  CHECK(second.transport().used == transport::kernel);
  CHECK(second.transport().why.find("in use on the kernel path") != std::string::npos);
  auto sub = second.subscriber<checked>("t").value();
  REQUIRE(pub.publish(checked::make(1, 1)));
  CHECK(sub.wait().value()->number == 1);

  const auto seen = quoit::inspect(kernel.name()).value();
  REQUIRE(seen.topics.size() == 1);
  CHECK(seen.topics[0].transport == transport::kernel);
  REQUIRE(seen.topics[0].publishers.size() == 1);
  CHECK(seen.topics[0].publishers[0].why == "asked for");
  REQUIRE(seen.topics[0].subscriptions.size() == 1);
  CHECK(seen.topics[0].subscriptions[0].why.find("in use on the kernel path") != std::string::npos);
}
