// What is left of a bus whose own file is gone, or damaged, is removed if nobody is alive, and never under the living.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <quoit.hpp>
#include <string>

#include "quoit/detail/bus_layout.hpp"
#include "quoit/detail/lane_layout.hpp"
#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/messages.hpp"
#include "support/skip.hpp"
#include "topic/instance_lock.hpp"

using namespace quoit::test;
using quoit::errc;

namespace {

// A folder of its own: nobody else's bus is in it. False: not permitted here.
bool own_folder() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64m") == 0;
}

// A process with a publisher on each of two topics, which lives until it is killed.
std::unique_ptr<child> somebody(const std::string& bus_name) {
  int ready[2];
  if (::pipe(ready) != 0) return nullptr;
  auto made = std::make_unique<child>([&] {
    auto bus = quoit::bus::open(bus_name).value();
    auto one = bus.publisher<checked>("one").value();
    auto two = bus.publisher<checked>("two/three").value();
    if (::write(ready[1], "x", 1) != 1) return 2;
    for (;;) ::pause();
    return 0;
  });
  char c;
  const bool there = ::read(ready[0], &c, 1) == 1;
  ::close(ready[0]);
  ::close(ready[1]);
  return there ? std::move(made) : nullptr;
}

enum class damage { removed, truncated, noise, replaced };

bool has(const std::vector<std::string>& files, const std::string& file) {
  return std::find(files.begin(), files.end(), file) != files.end();
}

void do_damage(const std::string& bus_name, damage how) {
  const std::string path = "/dev/shm/quoit." + bus_name;
  if (how == damage::truncated && ::truncate(path.c_str(), 100) != 0) std::abort();
  if (how == damage::removed || how == damage::replaced) ::unlink(path.c_str());
  if (how == damage::noise || how == damage::replaced) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0660);
    const std::string noise(8192, 'n');
    if (fd < 0 || ::write(fd, noise.data(), noise.size()) != static_cast<ssize_t>(noise.size())) std::abort();
    ::close(fd);
  }
}

// Runs in a process with a folder of its own, and without /proc. 0: as it should be.
int check(const bus_guard& name, damage how) {
  if (!own_folder() || ::mount("tmpfs", "/proc", "tmpfs", 0, "size=1m") != 0) return 77;
  ::setenv("QUOIT_SOCKETS", "/tmp/quoit-clean-test-of-nobody", 1);
  auto alive = somebody(name.name());
  if (!alive) return 1;
  do_damage(name.name(), how);
  const std::size_t files = name.files().size();
  const auto refused = quoit::clean(name.name());
  if (refused || refused.error() != errc::busy) return 2;
  const bool known = how == damage::truncated || how == damage::noise;
  if (refused.error().message().find(known ? "stop them first" : "--force") == std::string::npos) return 3;
  if (name.files().size() != files) return 4;
  // Whoever holds a byte of a file that has its name is alive, whatever is asked for.
  if (known && (quoit::clean(name.name(), true) || name.files().size() != files)) return 5;
  alive->kill(SIGKILL);
  alive->wait();
  if (const auto done = quoit::clean(name.name()); !done) {
    std::fprintf(stderr, "%s\n", done.error().message().c_str());
    return 6;
  }
  if (!name.files().empty()) return 7;
  // Nothing is left: nothing fails.
  if (!quoit::clean(name.name()) || !quoit::list_remains().empty()) return 8;
  return 0;
}

enum class shm { missing, forbidden };

// Where /dev/shm cannot be looked into, and sockets of a dead process are left. 0: as it should be.
int clean_without_shm(const std::string& bus_name, const std::string& sockets, shm how) {
  constexpr uid_t nobody = 65534;
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  if (how == shm::missing && ::mount("tmpfs", "/dev", "tmpfs", 0, "size=1m") != 0) return 77;
  if (how == shm::forbidden) {
    if (::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m,mode=0700") != 0) return 77;
    if (::mkdir(sockets.c_str(), 0700) != 0 || ::chown(sockets.c_str(), nobody, nobody) != 0) return 77;
    if (::setresgid(nobody, nobody, nobody) != 0 || ::setresuid(nobody, nobody, nobody) != 0) return 77;
  }
  ::setenv("QUOIT_SOCKETS", sockets.c_str(), 1);
  ::setenv("QUOIT_TRANSPORT", "kernel", 1);
  auto dies = somebody(bus_name);
  if (!dies) return 1;
  const auto seen = quoit::inspect(bus_name);
  if (!seen || seen->topics.size() != 2 || seen->problem.empty() != (how == shm::missing)) return 2;
  // Those that live are left alone.
  const bool first = quoit::clean(bus_name).has_value();
  if (first != (how == shm::missing) || quoit::list_remains() != std::vector<std::string>{bus_name}) return 3;
  dies->kill(SIGKILL);
  dies->wait();
  const auto done = quoit::clean(bus_name);
  if (::access((sockets + "/" + bus_name).c_str(), F_OK) == 0 || !quoit::list_remains().empty()) return 4;
  const auto obstacles = quoit::list_obstacles();
  if (obstacles.size() != 1 || obstacles[0].message().find("/dev/shm") == std::string::npos) return 5;
  // Nothing can be left in what is not there; of what is forbidden nobody knows.
  if (how == shm::missing) return done && obstacles[0] == errc::not_found ? 0 : 6;
  return !done && done.error() == errc::no_permission && obstacles[0] == errc::no_permission ? 0 : 7;
}

}  // namespace

TEST_CASE("sockets of the dead are removed where /dev/shm is missing or forbidden, and it is said") {
  for (const shm how : {shm::missing, shm::forbidden}) {
    const bus_guard name;
    const std::string sockets = "/tmp/quoit-test-" + std::to_string(::getpid());
    child in_its_own([&] { return clean_without_shm(name.name(), sockets, how); });
    const ending end = in_its_own.wait();
    ::rmdir(sockets.c_str());
    if (end.status == 77) QUOIT_SKIP("a mount namespace and another user are not permitted here");
    CHECK_MESSAGE(end.status == 0, "shm ", static_cast<int>(how), " status ", end.status, " signal ", end.signal);
  }
}

TEST_CASE("what is left of a bus that nobody can open is removed once nobody on it is alive") {
  for (const damage how : {damage::removed, damage::truncated, damage::noise, damage::replaced}) {
    const bus_guard name;
    child in_its_own([&] { return check(name, how); });
    const ending end = in_its_own.wait();
    if (end.status == 77) QUOIT_SKIP("a mount namespace with a tmpfs of its own is not permitted here");
    CHECK_MESSAGE(end.status == 0, "damage ", static_cast<int>(how), " status ", end.status, " signal ", end.signal);
  }
}

TEST_CASE("with force the topics of a bus without a file go, also where somebody nameless is alive") {
  const bus_guard name;
  auto gone = somebody(name.name());
  REQUIRE(gone);
  do_damage(name.name(), damage::removed);
  gone->kill(SIGKILL);
  gone->wait();
  CHECK_FALSE(name.files().empty());
  CHECK(quoit::clean(name.name(), true));
  CHECK(name.files().empty());
}

TEST_CASE("a bus that says it is of another version is removed with force, and is not while somebody is alive") {
  const bus_guard name;
  auto gone = somebody(name.name());
  REQUIRE(gone);
  const std::string path = "/dev/shm/quoit." + name.name();
  const auto features = [&](char value) {
    const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    const bool written = ::pwrite(file, &value, 1, offsetof(quoit::detail::segment_prefix, required_features)) == 1;
    ::close(file);
    return written;
  };
  REQUIRE(features(4));
  CHECK(quoit::clean(name.name(), true).error() == errc::busy);
  gone->kill(SIGKILL);
  gone->wait();
  const auto kept = quoit::clean(name.name());
  REQUIRE_FALSE(kept);
  CHECK(kept.error() == errc::newer_version);
  CHECK(kept.error().message().find("features that are not known (4)") != std::string::npos);
  CHECK(quoit::clean(name.name(), true));
  CHECK(name.files().empty());
}

TEST_CASE("a process on a bus whose file was removed is seen as another user, and from another pid namespace") {
  constexpr uid_t nobody = 65534;
  for (const bool other_namespace : {false, true}) {
    const bus_guard name;
    child in_its_own([&] {
      if (!own_folder() || (other_namespace && ::unshare(CLONE_NEWPID) != 0)) return 77;
      int ready[2];
      if (::pipe(ready) != 0) return 1;
      child lives([&] {
        if (!other_namespace && (::setresgid(nobody, nobody, nobody) != 0 || ::setresuid(nobody, nobody, nobody) != 0))
          return 77;
        auto bus = quoit::bus::open(name.name()).value();
        auto publisher = bus.publisher<checked>("t").value();
        if (::write(ready[1], "x", 1) != 1) return 2;
        for (;;) ::pause();
        return 0;
      });
      ::close(ready[1]);
      char c;
      if (::read(ready[0], &c, 1) != 1) return lives.wait().status;
      do_damage(name.name(), damage::removed);
      const auto refused = quoit::clean(name.name());
      if (refused || refused.error() != errc::busy || name.files().empty()) return 3;
      lives.kill(SIGKILL);
      lives.wait();
      return quoit::clean(name.name()) && name.files().empty() ? 0 : 4;
    });
    const ending end = in_its_own.wait();
    if (end.status == 77) QUOIT_SKIP("namespaces of one's own are not permitted here");
    CHECK_MESSAGE(end.status == 0, "other namespace ", other_namespace, " status ", end.status);
  }
}

TEST_CASE("a process that is making the file of a bus is waited for, and not taken for one that stays") {
  const bus_guard name;
  auto gone = somebody(name.name());
  REQUIRE(gone);
  do_damage(name.name(), damage::removed);
  gone->kill(SIGKILL);
  gone->wait();
  // As one that makes the file, is stopped before it has the name, and goes on.
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  child makes([&] {
    const int file = ::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    const auto held = quoit::detail::instance_lock::on(name.name(), file);
    if (!held || ::write(ready[1], "x", 1) != 1) return 1;
    ::usleep(100'000);
    return 0;
  });
  char c;
  REQUIRE(::read(ready[0], &c, 1) == 1);
  ::close(ready[0]);
  ::close(ready[1]);
  const auto cleaned = quoit::clean(name.name());
  CHECK_MESSAGE(cleaned, cleaned.error().message());
  CHECK(name.files().empty());
  CHECK(makes.wait().status == 0);
}

TEST_CASE("a process whose bus file was removed leaves the files of a newer instance alone") {
  const bus_guard name;
  auto older = std::make_unique<quoit::bus>(quoit::bus::open(name.name()).value());
  do_damage(name.name(), damage::removed);
  auto bus = quoit::bus::open(name.name()).value();
  auto publisher = bus.publisher<checked>("t").value();
  const auto files = name.files();
  older.reset();
  CHECK(name.files() == files);
  auto joined = quoit::bus::open(name.name()).value();
  CHECK(joined.subscriber<checked>("t").value().publishers() == 1);
}

TEST_CASE("the last process of a newer instance leaves the topics of one that is alive on an older instance") {
  const bus_guard name;
  auto older = somebody(name.name());
  REQUIRE(older);
  do_damage(name.name(), damage::removed);
  const auto files = name.files();
  {
    auto newer = quoit::bus::open(name.name()).value();
  }
  CHECK(name.files() == files);
  CHECK(has(files, "quoit." + name.name() + ".one"));
  older->kill(SIGKILL);
  older->wait();
  // The next one out finds that it is alone.
  {
    auto newer = quoit::bus::open(name.name()).value();
  }
  CHECK(name.files().empty());
}

TEST_CASE("a bus whose processes hold no lock on /dev/shm is of another version") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  const int file = ::open(("/dev/shm/quoit." + name.name()).c_str(), O_RDWR | O_CLOEXEC);
  const quoit::detail::u64 none = 0;
  CHECK(::pwrite(file, &none, sizeof none, offsetof(quoit::detail::segment_prefix, required_features)) ==
        static_cast<ssize_t>(sizeof none));
  ::close(file);
  const auto refused = quoit::bus::open(name.name());
  REQUIRE_FALSE(refused);
  CHECK(refused.error() == errc::newer_version);
  CHECK(refused.error().message().find("hold no lock on /dev/shm") != std::string::npos);
}

TEST_CASE("a bus is refused, and nothing is left of it, where /dev/shm cannot be opened for its lock") {
  constexpr uid_t nobody = 65534;
  const bus_guard name;
  child in_its_own([&] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=16m,mode=1733") != 0)
      return 77;
    child other_user([&] {
      if (::setresgid(nobody, nobody, nobody) != 0 || ::setresuid(nobody, nobody, nobody) != 0) return 77;
      const auto refused = quoit::bus::open(name.name());
      if (refused || refused.error() != errc::no_permission) return 1;
      if (refused.error().message().find("/dev/shm for reading") == std::string::npos) return 2;
      // By the kernel path it goes on.
      ::setenv("QUOIT_SOCKETS", ("/tmp/quoit-test-" + std::to_string(::getpid())).c_str(), 1);
      return quoit::bus::open(name.name(), {.transport = quoit::transport::automatic}) ? 0 : 3;
    });
    const int status = other_user.wait().status;
    return status != 0 ? status : name.files().empty() ? 0 : 4;
  });
  const ending end = in_its_own.wait();
  if (end.status == 77) QUOIT_SKIP("a mount namespace and another user are not permitted here");
  CHECK(end.status == 0);
}

TEST_CASE("a bus that comes and goes meanwhile is cleaned without a word about damage") {
  const bus_guard name;
  // Also where its file is missing at first, and topics of the dead are left.
  auto gone = somebody(name.name());
  REQUIRE(gone);
  do_damage(name.name(), damage::removed);
  gone->kill(SIGKILL);
  gone->wait();
  child comes_and_goes([&] {
    for (int i = 0; i < 3000; ++i) {
      if (!quoit::bus::open(name.name())) return 1;
    }
    return 0;
  });
  siginfo_t info{};
  int times = 0;
  do {
    const auto cleaned = quoit::clean(name.name());
    CHECK_MESSAGE(cleaned, cleaned.error().message());
    ++times;
    info.si_pid = 0;
    REQUIRE(::waitid(P_PID, static_cast<id_t>(comes_and_goes.pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0);
  } while (info.si_pid == 0);
  CHECK(comes_and_goes.wait().status == 0);
  CHECK(name.files().empty());
  MESSAGE(times << " times");
}

TEST_CASE("cleaning a bus on which somebody lives removes what the dead left, and nothing else") {
  const bus_guard name;
  auto bus = quoit::bus::open(name.name()).value();
  auto pub = bus.publisher<checked>("t").value();
  auto dead = somebody(name.name());
  REQUIRE(dead);
  dead->kill(SIGKILL);
  dead->wait();
  CHECK(quoit::clean(name.name(), true));
  CHECK(quoit::inspect(name.name()).value().topics.size() == 1);
  CHECK(pub.publish(checked::make(0, 0)));
}
