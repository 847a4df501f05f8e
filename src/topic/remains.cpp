// Who is alive, where the file of the bus does not say it.
//
// A process that lives on a bus holds the lock of its node's byte on the file that it opened. If that file still has
// its name, the lock is seen through it, whatever its bytes are. If it has none any more, the lock is still in the
// kernel's table, with device and inode, but not with the bus: so nobody may hold a node's byte of any file in the
// folder that has no name. Locks of topics and lanes say nothing: they are held in the middle of coming and going only.
#include "topic/remains.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <thread>
#include <vector>

#include "base/file_lock.hpp"
#include "base/lock_table.hpp"
#include "mem/shm_file.hpp"
#include "quoit/detail/bus_layout.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 node_bytes_begin = node_lock_byte(0);
constexpr u64 node_bytes_end = node_lock_byte(nodes_limit);
constexpr int looks_at_most = 6;
// The kernel gives its table in pieces: when locks go between two of them, others are passed over. So one that is
// missing once says nothing. One that is being made or removed is seen once, as its number is not used again soon.
constexpr int sightings = 2;
constexpr std::chrono::milliseconds between_looks{20};

// Inodes in the folder on which a node's byte is held, and that have no name there. One that is being made or removed
// may be among them for a moment.
std::vector<ino_t> nameless_once(dev_t device) {
  std::vector<ino_t> inodes;
  for (const held_lock& lock : read_lock_table()) {
    if (lock.device != device || lock.first_byte < node_bytes_begin || lock.first_byte >= node_bytes_end) continue;
    inodes.push_back(lock.inode);
  }
  for (const std::string& file : list_shm(bus_file(""))) {
    struct stat status{};
    if (::stat(shm_path(file).c_str(), &status) == 0) std::erase(inodes, status.st_ino);
  }
  std::sort(inodes.begin(), inodes.end());
  // A node holds one byte; several nodes, several of one file.
  inodes.erase(std::unique(inodes.begin(), inodes.end()), inodes.end());
  return inodes;
}

bool somebody_is_nameless(dev_t device) {
  std::map<ino_t, int> seen;
  for (int look = 0; look < looks_at_most; ++look) {
    if (look > 0) std::this_thread::sleep_for(between_looks);
    for (const ino_t inode : nameless_once(device)) {
      if (++seen[inode] == sightings) return true;
    }
    // Whoever is there is not passed over in half of the looks.
    if (seen.empty() && look + 1 == looks_at_most / 2) return false;
  }
  return false;
}

// Errors: busy, if somebody may be alive.
result<void> check_nobody_is_nameless(std::string_view bus) {
  // A lock of our own shows whether others' can be seen here.
  auto own = make_shm(bus_temporary_prefix(bus), 4096);
  if (!own) return tl::unexpected(std::move(own.error()));
  struct stat status{};
  const bool known = ::fstat(own->descriptor.get(), &status) == 0;
  bool seen = false;
  for (int look = 0; known && !seen && look < looks_at_most; ++look) {
    const std::vector<held_lock> held = read_lock_table();
    seen = std::any_of(held.begin(), held.end(), [&](const held_lock& lock) {
      return lock.device == status.st_dev && lock.inode == status.st_ino;
    });
  }
  unlink_shm(own->name);
  const std::string end =
      "; make sure that no process of the bus runs, then use `quoit clean --force --bus " + std::string(bus) + "`";
  if (!seen) {
    return tl::unexpected(error(errc::busy, "whether somebody is alive on bus " + std::string(bus) +
                                                " cannot be known: /proc/locks does not show the locks here" + end));
  }
  if (somebody_is_nameless(status.st_dev)) {
    return tl::unexpected(error(errc::busy,
                                "some process is alive on a bus whose file was removed under it, and it may "
                                "be bus " +
                                    std::string(bus) + end));
  }
  return {};
}

}  // namespace

bool anything_left(std::string_view bus) {
  const auto files = list_shm(bus_file(bus));
  return std::any_of(files.begin(), files.end(), [&](const std::string& file) {
    return file == bus_file(bus) || file.starts_with(topic_file_prefix(bus)) ||
           file.starts_with(bus_temporary_prefix(bus)) || file.starts_with(bell_file_prefix(bus));
  });
}

result<bool> remove_damaged_bus(std::string_view bus, bool missing, bool force, std::chrono::nanoseconds lock_timeout) {
  const std::string file = bus_file(bus);
  auto opened = open_shm_for_locks(file);
  if (!opened && opened.error() != errc::not_found) return tl::unexpected(std::move(opened.error()));
  if (opened && missing) return false;
  if (opened) {
    // Nobody enters while this is held.
    switch (lock(opened->get(), shm_lock_byte, lock_timeout)) {
      case lock_status::taken: break;
      case lock_status::held_by_other:
        return tl::unexpected(error(errc::busy, "somebody holds the lock of " + shm_path(file)));
      case lock_status::failed: return tl::unexpected(error(errc::system, "locking " + shm_path(file), 0, errno));
    }
    if (held_by_other(opened->get(), static_cast<off_t>(node_bytes_begin), nodes_limit)) {
      return tl::unexpected(error(errc::busy, "processes are alive on bus " + std::string(bus) + ", whose file " +
                                                  shm_path(file) + " is damaged: stop them first"));
    }
  }
  if (!force) {
    if (auto ok = check_nobody_is_nameless(bus); !ok) return tl::unexpected(std::move(ok.error()));
  }
  if (opened && !is_unlinked(opened->get())) unlink_shm(file);
  return true;
}

}  // namespace quoit::inline v1::detail
