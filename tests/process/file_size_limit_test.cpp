// A process whose files may not grow (`ulimit -f`): everything that would make a larger one is an error with the
// limit's name, the process lives, and no temporary file is left.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <filesystem>
#include <quoit.hpp>
#include <quoit/inherited_memory.hpp>

#include "support/bus_guard.hpp"
#include "support/child.hpp"
#include "support/log_fixture.hpp"
#include "support/messages.hpp"

using namespace quoit::test;
using quoit::errc;

namespace {

bool set_limit(u64 bytes) {
  const rlimit limit{bytes, RLIM_INFINITY};
  return ::setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

template <class T>
bool refused(const quoit::result<T>& r, u64 limit) {
  if (r) return false;
  const std::string words = r.error().message();
  const bool right = r.error() == errc::limit_reached && r.error().value() == limit &&
                     words.find("RLIMIT_FSIZE (ulimit -f)") != std::string::npos;
  if (!right) std::fprintf(stderr, "%s\n", words.c_str());
  return right;
}

// Files under `directory` whose name has `part`.
int files_with(const std::string& directory, const std::string& part) {
  int count = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, ignored)) {
    count += entry.path().filename().string().find(part) != std::string::npos ? 1 : 0;
  }
  return count;
}

template <class Body>
void in_a_child(Body&& body) {
  quoit::test::child process(body);
  const ending how = process.wait();
  CHECK_MESSAGE(how.status == 0, "status ", how.status, " signal ", how.signal);
}

}  // namespace

TEST_CASE("in shared memory neither a bus nor a lane that is too large ends the process, or leaves a file") {
  const bus_guard name;
  in_a_child([&] {
    if (!set_limit(8192)) return 100;
    if (!refused(quoit::bus::open(name.name()), 8192)) return 1;
    if (files_with("/dev/shm", name.name()) != 0) return 2;
    if (!set_limit(RLIM_INFINITY)) return 100;
    auto bus = quoit::bus::open(name.name());
    if (!bus) return 3;
    if (!set_limit(1 << 20)) return 100;
    if (!refused(bus->publisher<checked>("t", {.capacity_bytes = 4 << 20}), 1 << 20)) return 4;
    if (files_with("/dev/shm", name.name() + "@tmp-") != 0) return 5;
    // What fits goes on.
    return bus->publisher<checked>("t") ? 0 : 6;
  });
}

TEST_CASE("automatic goes to sockets where a bus in shared memory would be too large a file") {
  const bus_guard name;
  in_a_child([&] {
    if (!set_limit(8192)) return 100;
    quoit::bus_options options;
    options.transport = quoit::transport::automatic;
    auto bus = quoit::bus::open(name.name(), options);
    if (!bus) return 1;
    if (bus->transport().why.find("RLIMIT_FSIZE") == std::string::npos) return 2;
    if (!bus->publisher<checked>("t")) return 3;
    // Not even the record of a topic.
    if (!set_limit(16)) return 100;
    return refused(bus->publisher<checked>("u"), 16) ? 0 : 4;
  });
}

TEST_CASE("inherited memory that is too large is refused") {
  in_a_child([&] {
    if (!set_limit(1 << 20)) return 100;
    return refused(quoit::inherited_memory::create({.bytes = 4 << 20}), 1 << 20) ? 0 : 1;
  });
}

TEST_CASE("on disk neither a lane's file, a segment nor a subscription ends the process, or leaves a file") {
  const bus_guard name;
  const scratch_directory directory;
  auto options = small_log(directory);
  in_a_child([&] {
    auto bus = quoit::bus::open(name.name());
    if (!bus) return 101;
    quoit::subscriber_options remembered;
    remembered.directory = directory.path();
    remembered.subscription_name = "s";
    if (!set_limit(100)) return 100;
    if (!refused(log_writer::open(options), 100)) return 1;
    if (files_with(directory.path(), ".making-") != 0) return 2;
    if (!set_limit(8192)) return 100;
    if (!refused(log_writer::open(options), 8192)) return 3;
    if (files_with(directory.path(), ".making-") != 0) return 4;
    if (!refused(bus->subscriber<checked>("t", remembered), 8192)) return 5;
    return files_with(directory.path(), ".making-") == 0 ? 0 : 6;
  });
}

TEST_CASE("a publisher whose next segment is refused by the limit is told so, and goes on when it is raised") {
  const scratch_directory directory;
  auto options = small_log(directory);
  in_a_child([&] {
    auto w = log_writer::open(options);
    if (!w) return 1;
    // Of the segments that are made ahead by now there are a few.
    if (!set_limit(8192)) return 100;
    u64 n = 0;
    append_status status = append_status::ok;
    while ((status = append(**w, n)) == append_status::ok) ++n;
    if (status != append_status::no_space) return 2;
    const quoit::error why = (*w)->keeper().supply_failure();
    if (why != errc::limit_reached || why.words().find("RLIMIT_FSIZE") == std::string_view::npos) return 3;
    if (!set_limit(RLIM_INFINITY)) return 100;
    while ((status = append(**w, n)) == append_status::no_space) ::usleep(1000);
    if (status != append_status::ok) return 4;
    w->reset();
    return files_with(directory.path(), ".making-") == 0 ? 0 : 5;
  });
}
