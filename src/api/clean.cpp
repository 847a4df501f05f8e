#include "quoit/clean.hpp"

#include <algorithm>

#include "mem/shm_file.hpp"
#include "quoit/bus.hpp"
#include "topic/names.hpp"
#include "topic/remains.hpp"
#include "transport/unix/meeting_place.hpp"

namespace quoit::inline v1 {

using namespace detail;

std::vector<std::string> list_remains() {
  const std::string prefix = bus_file("");
  std::vector<std::string> buses;
  for (const std::string& file : list_shm(prefix)) {
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

// At a bus that comes and goes all the time.
constexpr int looks_at_most = 100;

result<void> clean_shared_memory(std::string_view bus, bool force) {
  // Where there is none, nothing is left in it.
  if (auto ok = look_into_shm(); !ok) return ok.error() == errc::not_found ? result<void>() : ok;
  if (!anything_left(bus)) return {};
  const bus_options options{.node_name = "quoit clean", .transport = transport::shared_memory};
  for (int again = looks_at_most;;) {
    const auto file = open_shm(bus_file(bus), access::read);
    const bool missing = !file && file.error() == errc::not_found;
    if (!missing) {
      // Opening a bus cleans up after its dead; being the last one out removes it.
      auto opened = quoit::bus::open(bus, options);
      if (opened) return {};
      const bool damaged = opened.error() == errc::corrupt || (force && opened.error() == errc::newer_version);
      if (!damaged) return tl::unexpected(std::move(opened.error()));
    }
    const auto removed = remove_damaged_bus(bus, missing, force, options.lock_timeout);
    if (!removed) return tl::unexpected(removed.error());
    if (*removed) break;
    if (--again == 0)
      return tl::unexpected(error(errc::busy, "bus " + std::string(bus) + " comes and goes all the time"));
  }
  auto opened = quoit::bus::open(bus, options);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  return {};
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
