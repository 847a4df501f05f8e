#include "quoit/clean.hpp"

#include <algorithm>

#include "base/file_lock.hpp"
#include "mem/shm_file.hpp"
#include "quoit/options.hpp"
#include "topic/names.hpp"
#include "topic/node.hpp"
#include "topic/remains.hpp"
#include "transport/unix/meeting_place.hpp"

namespace quoit::inline v1 {

using namespace detail;

std::vector<std::string> list_remains() {
  const std::string prefix = bus_file("");
  std::vector<std::string> buses;
  const auto files = list_shm(prefix);
  for (const std::string& file : files ? *files : std::vector<std::string>()) {
    std::string name = file.substr(prefix.size());
    name.resize(std::min(name.find_first_of(".@"), name.size()));
    if (check_bus_name(name)) buses.push_back(std::move(name));
  }
  for (const std::string& name : buses_with_sockets()) {
    if (check_bus_name(name)) buses.push_back(name);
  }
  std::sort(buses.begin(), buses.end());
  buses.erase(std::unique(buses.begin(), buses.end()), buses.end());
  return buses;
}

namespace {

// A file that is damaged anew each time after it was removed.
constexpr int attempts_max = 100;

result<void> clean_shared_memory(std::string_view bus, bool force) {
  // Where there is none, nothing is left in it.
  if (auto ok = look_into_shm(); !ok) return ok.error() == errc::not_found ? result<void>() : ok;
  const auto left = anything_left(bus);
  if (!left) return tl::unexpected(left.error());
  if (!*left) return {};
  const bus_options options{.node_name = "quoit clean", .transport = transport::shared_memory};
  const lock_wait_limit limit(options.lock_timeout);
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    // So that nothing is made where the answer will be `busy`.
    if (!force) {
      if (auto ok = wait_for_missing_bus(bus, options.lock_timeout); !ok) return ok;
    }
    // Opening a bus cleans up after its dead; being the last one out removes it, with what is left of earlier
    // instances.
    auto opened = node::open(bus, options);
    if (opened && force) (*opened)->remove_despite_other_instances();
    if (opened) return force ? result<void>() : (*opened)->wait_for_other_instances();
    const bool damaged = opened.error() == errc::corrupt || (force && opened.error() == errc::newer_version);
    if (!damaged) return tl::unexpected(std::move(opened.error()));
    const auto removed = remove_damaged_bus(bus, force, options.lock_timeout);
    if (!removed) return tl::unexpected(removed.error());
    // At the first attempt it may be a new file by now, which can be opened.
    if (!*removed && attempt > 0) {
      return tl::unexpected(error(errc::busy, "processes are alive on bus " + std::string(bus) + ", whose file " +
                                                  shm_directory + "/" + bus_file(bus) +
                                                  " is damaged: stop them first"));
    }
  }
  return tl::unexpected(error(errc::busy, "the file of bus " + std::string(bus) + " is damaged again and again"));
}

}  // namespace

result<void> clean(std::string_view bus, bool force) {
  if (auto ok = check_bus_name(bus); !ok) return ok;
  clean_meeting_places(std::string(bus));
  if (auto ok = clean_shared_memory(bus, force); !ok) return ok;
  const auto sockets = sockets_directory(false);
  if (!sockets && sockets.error() != errc::not_found) return tl::unexpected(sockets.error());
  return {};
}

}  // namespace quoit::inline v1
