// What stands in /dev/shm may be full, forbidden, short, zeroed, noise, or of another version.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"

using namespace quoit::test;
using namespace std::chrono_literals;
using quoit::errc;

namespace {

// A bus with a publisher in another process, which lives while this does.
class running_bus {
 public:
  explicit running_bus(const std::string& name)
      : child_([name, this] {
          auto bus = quoit::bus::open(name).value();
          auto pub = bus.publisher<checked>("t").value();
          for (std::uint64_t n = 0; n < 100; ++n) {
            if (!pub.publish(checked::make(0, n))) return 1;
          }
          if (::write(ready_.fds[1], "x", 1) != 1) return 2;
          for (;;) ::pause();
          return 0;
        }) {
    char c;
    REQUIRE(::read(ready_.fds[0], &c, 1) == 1);
  }

 private:
  struct pipe_pair {
    pipe_pair() { REQUIRE(::pipe(fds) == 0); }
    ~pipe_pair() { ::close(fds[0]), ::close(fds[1]); }
    int fds[2];
  };
  pipe_pair ready_;
  child child_;
};

std::string path(const std::string& file) { return "/dev/shm/" + file; }

void overwrite_file(const std::string& file, off_t at, const void* data, std::size_t bytes) {
  const int fd = ::open(path(file).c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  REQUIRE(::pwrite(fd, data, bytes, at) == static_cast<ssize_t>(bytes));
  ::close(fd);
}

// Opens everything; whatever happens, it must be an error value or success. Its status: 0 opened, 1 refused.
int open_everything(const std::string& name, std::string* words) {
  auto bus = quoit::bus::open(name, {.lock_timeout = 200ms});
  if (!bus) return *words = bus.error().message(), 1;
  auto sub = bus->subscriber<checked>("t", {.start = quoit::start::earliest});
  if (!sub) return *words = sub.error().message(), 1;
  for (int i = 0; i < 200; ++i) {
    auto s = sub->poll();
    if (!s && s.error() != errc::lagged) return *words = s.error().message(), 1;
  }
  auto pub = bus->publisher<checked>("t");
  if (!pub) return *words = pub.error().message(), 1;
  for (int i = 0; i < 10; ++i) {
    if (!pub->publish(checked::make(1, 1)) && false) return 1;
  }
  if (auto seen = quoit::inspect(name); !seen) return *words = seen.error().message(), 1;
  return 0;
}

}  // namespace

TEST_CASE("segments that were truncated, zeroed or filled with noise are refused, and never crash") {
  std::mt19937_64 random(5);
  for (int round = 0; round < (fast() ? 40 : 160); ++round) {
    const bus_guard name;
    {
      running_bus alive(name.name());
      const std::vector<std::string> files = name.files();
      REQUIRE(files.size() == 4);  // the bus, the topic, the lane's two
      const std::string& file = files[static_cast<std::size_t>(round) % files.size()];
      struct stat status{};
      REQUIRE(::stat(path(file).c_str(), &status) == 0);
      const auto size = static_cast<std::size_t>(status.st_size);
      const int kind = round / 4 % 5;
      // A file is replaced, as an operator or a fault would leave it: those who have mapped the old one keep that.
      std::vector<char> contents(size);
      {
        const int fd = ::open(path(file).c_str(), O_RDONLY | O_CLOEXEC);
        REQUIRE(::read(fd, contents.data(), size) == static_cast<ssize_t>(size));
        ::close(fd);
      }
      if (kind == 0) contents.resize(random() % size);
      if (kind == 1) std::fill(contents.begin(), contents.end(), '\0');
      if (kind == 2) {
        for (auto& c : contents) c = static_cast<char>(random());
      }
      if (kind == 3) {
        // Noise behind a good prefix.
        for (std::size_t i = 64; i < contents.size(); ++i) {
          if (random() % 4 == 0) contents[i] = static_cast<char>(random());
        }
      }
      if (kind == 4) {
        for (int i = 0; i < 8; ++i)
          contents[random() % std::min<std::size_t>(size, 4096)] = static_cast<char>(random());
      }
      REQUIRE(::unlink(path(file).c_str()) == 0);
      const int fd = ::open(path(file).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0660);
      REQUIRE(fd >= 0);
      if (!contents.empty())
        REQUIRE(::write(fd, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()));
      ::close(fd);
      child visitor([&] {
        std::string words;
        const int status_of = open_everything(name.name(), &words);
        if (status_of == 1 && words.empty()) return 50;
        return 0;
      });
      const ending how = visitor.wait();
      CHECK_MESSAGE(how.status == 0, "file ", file, " kind ", kind, " status ", how.status, " signal ", how.signal);
    }
    name.remove_all();
  }
}

TEST_CASE("another layout version is refused with both versions") {
  for (const char* which : {"", ".t"}) {
    const bus_guard name;
    {
      running_bus alive(name.name());
      const std::uint16_t major = 9;
      overwrite_file("quoit." + name.name() + which, 8, &major, 2);
      std::string words;
      CHECK(open_everything(name.name(), &words) == 1);
      CHECK(words.find("layout 9." + std::to_string(quoit::detail::layout_minor)) != std::string::npos);
      CHECK(words.find("layout " + std::to_string(quoit::detail::layout_major) + "." +
                       std::to_string(quoit::detail::layout_minor)) != std::string::npos);
    }
    name.remove_all();
  }
}

TEST_CASE("a full /dev/shm is an error that names the need and what is free") {
  const bus_guard name;
  child in_a_small_one([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") != 0) {
      return 77;
    }
    auto bus = quoit::bus::open(name.name());
    if (!bus) return 1;
    auto fits = bus->publisher<checked>("small");
    if (!fits) return std::fprintf(stderr, "%s\n", fits.error().message().c_str()), 2;
    auto large = bus->publisher<checked>("large", {.capacity_bytes = 8 << 20});
    if (large || large.error() != errc::no_space) return 3;
    const std::string words = large.error().message();
    if (words.find("/dev/shm") == std::string::npos || words.find("bytes free") == std::string::npos) return 4;
    if (large.error().value() < (8 << 20)) return 5;
    if (words.find("topic large") == std::string::npos || words.find("capacity_bytes") == std::string::npos) return 10;
    auto wide = bus->subscriber<checked>("wide", {.limits = {.publishers_max = 1024, .subscriptions_max = 1024}});
    auto wider = bus->publisher<checked>("wider", {.limits = {.publishers_max = 1024, .subscriptions_max = 1024}});
    const auto why = !wide ? wide.error() : !wider ? wider.error() : quoit::error(errc::closed);
    if (why != errc::no_space || why.message().find("topic wide") == std::string::npos) return 11;
    if (why.message().find("limits") == std::string::npos) return 12;
    wide = tl::unexpected(why);
    wider = tl::unexpected(why);
    // What is there goes on, and nothing of the failed one is left.
    if (!fits->publish(checked::make(0, 0))) return 6;
    auto sub = bus->subscriber<checked>("small", {.start = quoit::start::earliest});
    if (!sub || !sub->poll()) return 7;
    if (quoit::inspect(name.name())->topics.size() != 1) return 8;
    // So full that not even a bus fits.
    auto other = quoit::bus::open(name.name() + "x", {.nodes_max = 4096});
    if (other || other.error() != errc::no_space) return 9;
    if (other.error().message().find("nodes_max") == std::string::npos) return 13;
    if (other.error().message().find("bus " + name.name() + "x") == std::string::npos) return 14;
    return 0;
  });
  const ending how = in_a_small_one.wait();
  if (how.status == 77) QUOIT_SKIP("a mount namespace with a tmpfs of its own is not permitted here");
  CHECK(how.status == 0);
}

TEST_CASE("another user is refused, or let in by the mode") {
  if (::geteuid() != 0) QUOIT_SKIP("only root can become another user");
  for (const bool open_to_all : {false, true}) {
    const bus_guard name;
    auto bus = quoit::bus::open(name.name(), {.permissions = open_to_all ? 0666u : 0600u}).value();
    auto pub = bus.publisher<checked>("t").value();
    child stranger([&] {
      if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) return 77;
      auto mine = quoit::bus::open(name.name());
      if (!open_to_all) {
        if (mine) return 1;
        if (mine.error() != errc::no_permission) return 2;
        return mine.error().message().find("permissions") != std::string::npos ? 0 : 3;
      }
      if (!mine) return 4;
      auto sub = mine->subscriber<checked>("t");
      if (!sub) return 5;
      auto s = sub->wait(60s);
      return s && (*s)->intact() ? 0 : 6;
    });
    if (open_to_all) {
      until([&] { return pub.subscribers() == 1; });
      REQUIRE(pub.publish(checked::make(0, 0)));
    }
    CHECK(stranger.wait().status == 0);
  }
}

TEST_CASE("the umask does not narrow what permissions asks for") {
  const bus_guard name;
  child careful([&] {
    ::umask(077);
    auto bus = quoit::bus::open(name.name(), {.permissions = 0664}).value();
    auto pub = bus.publisher<checked>("t").value();
    for (const std::string& file : name.files()) {
      struct stat status{};
      if (::stat(path(file).c_str(), &status) != 0 || (status.st_mode & 0777) != 0664) return 1;
    }
    return name.files().size() == 4 ? 0 : 2;
  });
  CHECK(careful.wait().status == 0);
}

TEST_CASE("temporaries of makers that died are removed, those of living ones are not") {
  const bus_guard name;
  const std::string left = "quoit." + name.name() + "@tmp-0123456789abcdef";
  const int fd = ::open(path(left).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(fd >= 0);
  ::close(fd);
  auto bus = quoit::bus::open(name.name()).value();
  CHECK(::access(path(left).c_str(), F_OK) != 0);
}

TEST_CASE("processes that make the same bus and topic at once end up in one") {
  for (int round = 0; round < (fast() ? 10 : 40); ++round) {
    const bus_guard name;
    {
      std::vector<std::unique_ptr<child>> all;
      for (int i = 0; i < 6; ++i) {
        all.push_back(std::make_unique<child>([&, i] {
          auto bus = quoit::bus::open(name.name()).value();
          auto sub = bus.subscriber<checked>("t").value();
          auto pub = bus.publisher<checked>("t").value();
          // Its lane outlives a publisher that leaves early; until all six were there, none leaves.
          while (pub.subscribers() < 6 || sub.publishers() < 6) ::usleep(200);
          ::usleep(20'000);
          if (!pub.publish(checked::make(static_cast<std::uint64_t>(i), 0))) return 1;
          unsigned from = 0;
          while (from != 63) {
            auto s = sub.wait(60s);
            if (!s || !(*s)->intact()) return 2;
            from |= 1u << (*s)->publisher;
          }
          return 0;
        }));
      }
      for (auto& c : all) CHECK(c->wait().status == 0);
    }
    CHECK(name.files().empty());
  }
}
