#include "topic/remains.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/deadline.hpp"
#include "base/file_lock.hpp"
#include "mem/shm_file.hpp"
#include "quoit/detail/bus_layout.hpp"
#include "topic/instance_lock.hpp"
#include "topic/names.hpp"

namespace quoit::inline v1::detail {

namespace {

bool is_missing(const std::string& file) noexcept {
  return ::access(shm_path(file).c_str(), F_OK) != 0 && errno == ENOENT;
}

}  // namespace

result<bool> anything_left(std::string_view bus) {
  const auto files = list_shm(bus_file(bus));
  if (!files) return tl::unexpected(files.error());
  return std::any_of(files->begin(), files->end(), [&](const std::string& file) {
    return file == bus_file(bus) || file.starts_with(topic_file_prefix(bus)) ||
           file.starts_with(bus_temporary_prefix(bus)) || file.starts_with(bell_file_prefix(bus));
  });
}

result<void> wait_for_missing_bus(std::string_view bus, std::chrono::nanoseconds lock_timeout) {
  const std::string file = bus_file(bus);
  auto lock = instance_lock::on_none(bus);
  if (!lock) return tl::unexpected(std::move(lock.error()));
  const auto instance = lock->other();
  if (!instance) return {};
  const deadline end(std::min(lock_timeout, lock_wait_limit::left(lock_timeout)));
  while (is_missing(file)) {
    if (lock->wait_until_left(*instance, std::chrono::milliseconds(5))) return {};
    if (end.over()) return tl::unexpected(error_of_other_instance(bus));
  }
  return {};
}

result<bool> remove_damaged_bus(std::string_view bus, bool force, std::chrono::nanoseconds lock_timeout) {
  const std::string file = bus_file(bus);
  auto others = instance_lock::on_none(bus);
  if (!others) return tl::unexpected(std::move(others.error()));
  for (;;) {
    auto opened = open_shm_for_locks(file);
    if (!opened) {
      if (opened.error() == errc::not_found) return true;
      return tl::unexpected(std::move(opened.error()));
    }
    // No process enters or leaves while this is held.
    switch (lock(opened->get(), shm_lock_byte, lock_timeout)) {
      case lock_status::taken: break;
      case lock_status::held_by_other:
        return tl::unexpected(error(errc::busy, "a process holds the lock of " + shm_path(file)));
      case lock_status::failed: return tl::unexpected(error(errc::system, "locking " + shm_path(file), 0, errno));
    }
    if (is_unlinked(opened->get())) return true;
    if (held_by_other(opened->get(), static_cast<off_t>(node_lock_byte(0)), nodes_limit)) return false;
    const auto instance = force ? std::nullopt : others->other();
    if (!instance) {
      unlink_shm(file);
      return true;
    }
    // It may be about to leave, or to find that the name is taken. Newcomers are not kept waiting for that.
    opened->reset();
    if (!others->wait_until_left(*instance, lock_timeout)) return tl::unexpected(error_of_other_instance(bus));
  }
}

}  // namespace quoit::inline v1::detail
