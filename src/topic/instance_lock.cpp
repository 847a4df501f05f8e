#include "topic/instance_lock.hpp"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "base/call_counts.hpp"
#include "base/deadline.hpp"
#include "base/file_lock.hpp"
#include "base/name_hash.hpp"
#include "mem/shm_file.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int instance_bits = 24;
constexpr int position_bits = 62;
constexpr off_t instances = off_t{1} << instance_bits;

off_t first_byte_of(std::string_view bus) noexcept {
  const std::uint64_t hash = hash_of_name(bus) >> (64 - (position_bits - instance_bits));
  return static_cast<off_t>(hash << instance_bits);
}

}  // namespace

result<instance_lock> instance_lock::on_none(std::string_view bus) {
  auto directory = open_shm_directory_for_locks();
  if (!directory) return tl::unexpected(std::move(directory.error()));
  instance_lock made;
  made.directory_ = std::move(*directory);
  made.first_ = first_byte_of(bus);
  return made;
}

result<instance_lock> instance_lock::on(std::string_view bus, int file) {
  struct stat status{};
  if (::fstat(file, &status) != 0) {
    return tl::unexpected(error(errc::system, "fstat of the file of bus " + std::string(bus), 0, errno));
  }
  auto made = on_none(bus);
  if (!made) return made;
  made->own_ = made->first_ + static_cast<off_t>(status.st_ino % static_cast<std::uint64_t>(instances));
  if (try_lock_shared(made->directory_.get(), made->own_) != lock_status::taken) {
    const int why = errno;
    return tl::unexpected(error(errc::system,
                                std::string("locking a byte of the directory ") + shm_directory +
                                    ", as each process on a bus does: its file system has no such locks; mount a tmpfs "
                                    "there, or let all processes of the bus go without it (transport::kernel, "
                                    "QUOIT_TRANSPORT=kernel)",
                                0, why));
  }
  return made;
}

std::optional<off_t> instance_lock::other() const noexcept {
  const int directory = directory_.get();
  if (own_ < 0) return byte_held_by_other(directory, first_, instances);
  // Around the own byte, which other nodes of this instance hold too. A length of 0 would mean "to the end".
  std::optional<off_t> found;
  if (own_ > first_) found = byte_held_by_other(directory, first_, own_ - first_);
  const off_t behind = own_ + 1;
  const off_t end = first_ + instances;
  if (!found && behind < end) found = byte_held_by_other(directory, behind, end - behind);
  return found;
}

bool instance_lock::wait_until_left(off_t instance, std::chrono::nanoseconds timeout) const noexcept {
  if (!held_by_other(directory_.get(), instance, 1)) return true;
  const auto begin = std::chrono::steady_clock::now();
  const deadline end(std::min(timeout, lock_wait_limit::left(timeout)));
  long pause_ns = 50'000;
  bool held = true;
  while (held && !end.over()) {
    const timespec pause{0, pause_ns};
    count_call(calls_made.sleeps);
    ::nanosleep(&pause, nullptr);
    pause_ns = std::min(pause_ns * 2, 5'000'000L);
    held = held_by_other(directory_.get(), instance, 1);
  }
  lock_wait_limit::spend(std::chrono::steady_clock::now() - begin);
  return !held;
}

error error_of_other_instance(std::string_view bus) {
  const std::string name(bus);
  return error(errc::busy, "a process is alive on bus " + name + " through a file that is not " + shm_directory +
                               "/quoit." + name + ": that name was removed under it (`grep -l 'quoit." + name +
                               " (deleted)' /proc/[0-9]*/maps` lists such processes), or it was stopped while it made "
                               "the file. Stop it, or remove the files all the same: `quoit clean --force --bus " +
                               name + "`");
}

}  // namespace quoit::inline v1::detail
