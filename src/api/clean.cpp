#include "quoit/clean.hpp"

#include <algorithm>

#include "mem/shm_file.hpp"
#include "quoit/bus.hpp"
#include "topic/names.hpp"
#include "topic/remains.hpp"

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
  std::sort(buses.begin(), buses.end());
  buses.erase(std::unique(buses.begin(), buses.end()), buses.end());
  return buses;
}

result<void> clean(std::string_view bus, bool force) {
  if (auto ok = check_bus_name(bus); !ok) return ok;
  if (!anything_left(bus)) return {};
  const bus_options options{.node_name = "quoit clean", .transport = transport::shared_memory};
  const auto file = open_shm(bus_file(bus), access::read);
  if (file || file.error() != errc::not_found) {
    // Opening a bus cleans up after its dead; being the last one out removes it.
    auto opened = quoit::bus::open(bus, options);
    if (opened) return {};
    if (opened.error() != errc::corrupt) return tl::unexpected(std::move(opened.error()));
  }
  if (auto ok = remove_damaged_bus(bus, force, options.lock_timeout); !ok) return ok;
  auto opened = quoit::bus::open(bus, options);
  if (!opened) return tl::unexpected(std::move(opened.error()));
  return {};
}

}  // namespace quoit::inline v1
