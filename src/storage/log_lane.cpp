#include "storage/log_lane.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/file_lock.hpp"
#include "base/random.hpp"
#include "storage/allocation.hpp"
#include "storage/file_system.hpp"
#include "storage/lane_header.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int lane_openings_max = 100;

result<log_lane> open_at(directory_handle where, access how) {
  const std::string path = where.path_of(lane_file_name);
  fd file = where.open_file(lane_file_name, how == access::read ? O_RDONLY : O_RDWR);
  if (!file) return tl::unexpected(storage_call_failed("opening", path, errno));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return tl::unexpected(storage_call_failed("fstat of", path, errno));
  if (status.st_size < static_cast<off_t>(log_lane_bytes)) {
    return tl::unexpected(error(errc::corrupt, path + ": cut short: " + std::to_string(status.st_size) + " bytes"));
  }
  if (how == access::read_write) {
    if (auto filled = fill_holes(where, file.get(), path, log_lane_bytes); !filled) {
      return tl::unexpected(std::move(filled.error()));
    }
  }
  auto memory = map_file(file.get(), log_lane_bytes, how, path.c_str());
  if (!memory) return tl::unexpected(std::move(memory.error()));
  log_lane lane;
  lane.where = std::move(where);
  lane.file = file_identity::of(status);
  lane.memory = std::move(*memory);
  if (auto checked = check_lane_header(lane.header(), path); !checked) {
    return tl::unexpected(std::move(checked.error()));
  }
  lane.copied = !is_home(lane.header(), file.get());
  if (how == access::read_write) lane.descriptor = std::move(file);
  return lane;
}

std::string name_of_topic(const std::string& topic) {
  std::string name = topic;
  std::replace(name.begin(), name.end(), '/', '+');
  return name;
}

result<void> check_topic_directory_name(const std::string& topic) {
  if (topic != "." && topic != "..") return {};
  return tl::unexpected(error(errc::invalid_name, "a topic on disk is a directory, which can not be called " + topic));
}

result<topic_directory> look_at(const directory_handle& topic, const std::string& root) {
  const std::unique_ptr<char, void (*)(void*)> whole(::realpath(root.c_str(), nullptr), ::free);
  if (!whole) return tl::unexpected(storage_call_failed("looking for the directory", root, errno));
  struct stat status{};
  if (::fstat(topic.get(), &status) != 0) return tl::unexpected(storage_call_failed("fstat of", topic.path(), errno));
  return topic_directory{whole.get(), absolute_path(root), file_identity::of(status)};
}

}  // namespace

result<topic_directory> make_topic_directory(const std::string& root, const std::string& topic, made_names* made) {
  if (auto ok = check_topic_directory_name(topic); !ok) return tl::unexpected(std::move(ok.error()));
  auto parent = directory_handle::make(root, made);
  if (!parent) return tl::unexpected(std::move(parent.error()));
  auto of_topic = parent->make_directory(name_of_topic(topic), made);
  if (!of_topic) return tl::unexpected(std::move(of_topic.error()));
  if (auto local = check_file_system(of_topic->get(), of_topic->path()); !local) {
    return tl::unexpected(std::move(local.error()));
  }
  return look_at(*of_topic, root);
}

result<directory_handle> open_topic_directory(const std::string& root, const std::string& topic) {
  if (auto ok = check_topic_directory_name(topic); !ok) return tl::unexpected(std::move(ok.error()));
  return directory_handle::open(root + "/" + name_of_topic(topic));
}

result<topic_directory> find_topic_directory(const std::string& root, const std::string& topic) {
  auto found = open_topic_directory(root, topic);
  if (!found) return tl::unexpected(std::move(found.error()));
  return look_at(*found, root);
}

result<void> check_lane_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  };
  if (!name.empty() && name.size() <= 64 && name.front() != '.' && std::all_of(name.begin(), name.end(), allowed)) {
    return {};
  }
  return tl::unexpected(
      error(errc::invalid_name, "a publisher on disk is named by 1 to 64 of [A-Za-z0-9_.-], and not with a dot first"));
}

std::string lane_directory(const std::string& root, const std::string& topic, const std::string& name) {
  return root + "/" + name_of_topic(topic) + "/" + name;
}

namespace {

// `lock`: a description that holds the lock of the lane's file, if there is one; taken where this succeeds.
result<log_lane> open_locked(directory_handle where, guarded_fd& lock) {
  auto lane = open_at(std::move(where), access::read_write);
  if (!lane) return lane;
  const std::string path = lane->where.path_of(lane_file_name);
  int why = 0;
  guarded_fd opened;
  if (!lock) {
    opened = guarded_fd::opened_by([&] {
      fd file = lane->where.open_file(lane_file_name, O_RDWR);
      if (!file) why = errno;
      return file;
    });
  }
  guarded_fd& holder = lock ? lock : opened;
  if (!holder) return tl::unexpected(storage_call_failed("opening", path, why));
  struct stat locked{};
  if (::fstat(holder.get(), &locked) != 0) return tl::unexpected(storage_call_failed("fstat of", path, errno));
  if (file_identity::of(locked) != lane->file) {
    return tl::unexpected(error(errc::busy, path + " is being replaced: try again"));
  }
  switch (try_lock(holder.get(), writer_lock_byte)) {
    case lock_status::taken: break;
    case lock_status::held_by_other:
      return tl::unexpected(error(errc::busy, lane->where.path() + " is being written by process " +
                                                  // relaxed: for people
                                                  std::to_string(load_relaxed(lane->header().holder_pid)) +
                                                  "; a lane has one publisher at a time: give this one another name"));
    case lock_status::failed: return tl::unexpected(storage_call_failed("locking", path, errno));
  }
  lane->lock = std::move(holder);
  store_relaxed(lane->header().holder_pid, static_cast<u64>(::getpid()));  // relaxed: for people
  return lane;
}

result<log_lane> make_lane(const std::string& root, const std::string& topic, const std::string& name,
                           made_names* made) {
  auto parent = directory_handle::make(root, made);
  if (!parent) return tl::unexpected(std::move(parent.error()));
  auto of_topic = parent->make_directory(name_of_topic(topic), made);
  if (!of_topic) return tl::unexpected(std::move(of_topic.error()));
  auto where = of_topic->make_directory(name, made);
  if (!where) return tl::unexpected(std::move(where.error()));
  if (auto local = check_file_system(where->get(), where->path()); !local) {
    return tl::unexpected(std::move(local.error()));
  }
  struct stat status{};
  guarded_fd lock;
  if (!where->find(lane_file_name, status)) {
    int unread = 0;
    const bool empty = list_segments(*where, false, &unread).empty();
    if (unread != 0) return tl::unexpected(storage_call_failed("reading the directory", where->path(), unread));
    // A new id would make all that is there segments of another lane.
    if (!empty && !where->find(lane_file_name, status)) {
      return tl::unexpected(error(errc::corrupt, where->path_of(lane_file_name) +
                                                     " is missing, and there are segments: `repair` makes it anew"));
    }
    const auto random = random_id();
    const u64 id[2] = {random[0], random[1]};
    auto first = make_lane_file(*where, id);
    if (!first) return tl::unexpected(std::move(first.error()));
    lock = std::move(*first);
  }
  const bool is_new = static_cast<bool>(lock);
  // Removed while the lock is held, if anything fails from here on.
  made_names of_lane;
  if (is_new) of_lane.add_file(*where, lane_file_name);
  auto lane = open_locked(std::move(*where), lock);
  if (!lane || !is_new) return lane;
  lane->is_new = true;
  if (made != nullptr) made->add_file(lane->where, lane_file_name);
  of_lane.keep();
  return lane;
}

}  // namespace

result<log_lane> open_lane_to_write(const std::string& root, const std::string& topic, const std::string& name,
                                    made_names* made) {
  if (auto named = check_lane_name(name); !named) return tl::unexpected(std::move(named.error()));
  const std::string path = absolute_path(lane_directory(root, topic, name)) + "/" + lane_file_name;
  for (int n = 0; n < lane_openings_max; ++n) {
    auto lane = make_lane(root, topic, name, made);
    if (!lane) return lane;
    lane->path = path;
    // A lock on a file that has another name by now keeps nobody away from this one.
    if (lane->is_at_its_path()) return lane;
  }
  return tl::unexpected(error(errc::not_found, path + ": its directory is renamed or removed again and again"));
}

result<log_lane> open_lane_to_read(const std::string& root, const std::string& topic, const std::string& name) {
  if (auto named = check_lane_name(name); !named) return tl::unexpected(std::move(named.error()));
  auto where = directory_handle::open(lane_directory(root, topic, name));
  if (!where) return tl::unexpected(std::move(where.error()));
  return open_at(std::move(*where), access::read);
}

result<log_lane> open_lane_directory_to_write(directory_handle where) {
  guarded_fd none;
  return open_locked(std::move(where), none);
}

result<void> synchronize_lane(const log_lane& lane, const storage_calls& calls) {
  while (calls.synchronize(lane.descriptor.get()) != 0) {
    if (errno == EINTR) continue;
    return tl::unexpected(error(errc::system, "writing back " + lane.where.path_of(lane_file_name), 0, errno));
  }
  return {};
}

result<log_lane> open_lane_directory(directory_handle where) { return open_at(std::move(where), access::read); }

result<log_lane> imagine_lane(directory_handle where, const u64 (&id)[2]) {
  auto memory = map_private(log_lane_bytes);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  log_lane lane;
  lane.where = std::move(where);
  lane.copied = true;
  lane.memory = std::move(*memory);
  fill_lane_header(lane.header(), id);
  return lane;
}

result<log_lane> renew_lane_file(directory_handle where, const u64 (&id)[2]) {
  // Whoever writes the lane has locked the old one.
  if (const fd old = where.open_file(lane_file_name, O_RDWR); old) {
    if (try_lock(old.get(), writer_lock_byte) != lock_status::taken) {
      return tl::unexpected(error(errc::busy, where.path() + " is being written by another process"));
    }
    if (auto gone = set_file_aside(where, lane_file_name); !gone) return tl::unexpected(std::move(gone.error()));
  } else if (errno != ENOENT) {
    return tl::unexpected(storage_call_failed("opening", where.path_of(lane_file_name), errno));
  }
  auto lock = make_lane_file(where, id, true);
  if (!lock) return tl::unexpected(std::move(lock.error()));
  return open_locked(std::move(where), *lock);
}

std::optional<bool> lane_is_held(const directory_handle& where) noexcept {
  const fd file = where.open_file(lane_file_name, O_RDONLY);
  if (!file && errno == ENOENT) return std::nullopt;
  // What cannot be asked is alive.
  return !file || held_by_other(file.get(), writer_lock_byte, 1);
}

std::vector<std::string> list_lanes(const directory_handle& topic, int* why) {
  std::vector<std::string> names;
  const bool read = topic.for_each_name([&](const std::string& name) {
    if (check_lane_name(name)) names.push_back(name);
  });
  if (why != nullptr) *why = read || errno == ENOENT ? 0 : errno;
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace quoit::inline v1::detail
