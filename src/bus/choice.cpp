#include "bus/choice.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/choice_of.hpp"
#include "base/file_lock.hpp"
#include "mem/shm_file.hpp"
#include "topic/names.hpp"
#include "transport/unix/meeting_place.hpp"

namespace quoit::inline v1::detail {

namespace {

// Beside the bus itself: a topic and some ten lanes of default size. What lanes it will be is not known here.
constexpr u64 free_bytes_beside = 2 * 1024 * 1024;
// The same in files: a lane has two.
constexpr u64 files_beside = 32;

constexpr choice_word<transport> words[] = {
    {"shared_memory", transport::shared_memory}, {"kernel", transport::kernel}, {"automatic", transport::automatic}};

const char* who_said(const bus_options& options) {
  if (options.transport != transport::unspecified) return "asked for";
  const char* const text = std::getenv("QUOIT_TRANSPORT");
  return text != nullptr && *text != '\0' ? "asked for by QUOIT_TRANSPORT" : "the default";
}

std::string failed(const char* what, int why) {
  return std::string(shm_directory) + " " + what + " (" + std::strerror(why) + ")";
}

// What the dead left is nobody to meet, nor is a bus of another user. Errors: limit_reached (descriptors), system.
result<bool> lives_in_shared_memory(std::string_view bus) {
  const auto file = open_shm(bus_file(bus), access::read);
  if (file) return held_by_other(file->get(), static_cast<off_t>(node_lock_byte(0)), nodes_limit);
  const error& why = file.error();
  if (why == errc::not_found || why == errc::no_permission) return false;
  return tl::unexpected(why);
}

// Why shared memory cannot be used; empty: it can, as far as can be seen. Errors: as lives_in_shared_memory(),
// no_permission.
result<std::string> obstacle(std::string_view bus, const bus_options& options) {
  // To meet who is there comes first, however full it is: to join takes no space, and a publisher for whom there is
  // none is told so.
  const auto lives = lives_in_shared_memory(bus);
  if (!lives) return tl::unexpected(lives.error());
  if (*lives) return std::string();
  const auto members = bus_has_members(std::string(bus));
  if (!members) return tl::unexpected(members.error());
  if (*members) return std::string("the bus is in use on the kernel path, and not in shared memory");
  struct stat status{};
  if (::stat(shm_directory, &status) != 0) return failed("is missing", errno);
  if (!S_ISDIR(status.st_mode)) return std::string(shm_directory) + " is no directory";
  if (::access(shm_directory, R_OK | W_OK | X_OK) != 0) return failed("cannot be used", errno);
  struct statvfs space{};
  if (::statvfs(shm_directory, &space) != 0) return failed("cannot be asked for its space", errno);
  if ((space.f_flag & ST_RDONLY) != 0) return std::string(shm_directory) + " is read-only";
  const u64 free = u64{space.f_bavail} * space.f_frsize;
  const u64 needed = bus_bytes(std::min(options.nodes_max, nodes_limit)) + free_bytes_beside;
  if (free < needed) {
    return std::string(shm_directory) + " is full: " + std::to_string(free) + " bytes are free, and a bus needs " +
           std::to_string(needed);
  }
  // Some file systems count none.
  if (space.f_files != 0 && space.f_favail < files_beside) {
    return std::string(shm_directory) + " has " + std::to_string(space.f_favail) + " inodes left (df -i)";
  }
  return std::string();
}

// What another way would not make better is the caller's to hear.
bool speaks_for_kernel(const error& e) {
  // Sockets need files that are smaller.
  if (e == errc::limit_reached) return e.system_errno() == EFBIG;
  return e == errc::no_space || e == errc::no_permission || e == errc::not_found || e == errc::system;
}

}  // namespace

result<std::shared_ptr<node>> open_node(std::string_view bus, const bus_options& options) {
  if (auto ok = check_bus_name(bus); !ok) return tl::unexpected(std::move(ok.error()));
  const auto way = choice_of(options.transport, "transport", "QUOIT_TRANSPORT", transport::shared_memory, words);
  if (!way) return tl::unexpected(way.error());
  if (*way == transport::kernel) {
    auto made = node::open_private(bus, options, who_said(options));
    if (made) clean_meeting_places((*made)->bus());
    return made;
  }
  std::string why;
  if (*way == transport::automatic) {
    auto found = obstacle(bus, options);
    if (!found) return tl::unexpected(std::move(found.error()));
    why = std::move(*found);
  }
  if (why.empty()) {
    auto made = node::open(bus, options);
    if (made) {
      (*made)->set_why_transport(*way == transport::automatic ? "shared memory can be used" : who_said(options));
      return made;
    }
    if (*way != transport::automatic || !speaks_for_kernel(made.error())) return made;
    // Others are there, and would not hear of us: an error is better than that.
    const auto lives = lives_in_shared_memory(bus);
    if (!lives || *lives) return made;
    why = made.error().message();
  }
  auto made = node::open_private(bus, options, why);
  if (made) clean_meeting_places((*made)->bus());
  return made;
}

result<std::shared_ptr<node>> open_node(const std::shared_ptr<arena>& memory, const bus_options& options) {
  return node::open_in(
      arena_store(memory, options.lock_timeout), memory_bus_name, options,
      memory->sealed() ? "memory inherited, and the lanes of its publishers sealed" : "memory inherited");
}

void clean_up_after_dead(node& self) noexcept {
  if (self.forked()) return;
  if (self.on_kernel()) {
    clean_meeting_places(self.bus());
  } else {
    self.clean_all_dead();
  }
}

}  // namespace quoit::inline v1::detail
