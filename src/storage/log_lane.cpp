#include "storage/log_lane.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "base/file_lock.hpp"
#include "base/random.hpp"
#include "storage/file_system.hpp"
#include "storage/lane_header.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr off_t writer_lock_byte = off_t{1} << 40;

result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0770) != 0 && errno != EEXIST) {
    return tl::unexpected(storage_call_failed("making the directory", path, errno));
  }
  // Its name is to be there after a power failure, as what is flushed in it will be; also where who made it died before
  // he came here. A file system that has no such call for directories has no need of it.
  const fd parent(::open((path + "/..").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent) ::fsync(parent.get());
  return {};
}

result<log_lane> open_at(const std::string& directory, access how) {
  const std::string path = directory + "/" + lane_file_name;
  const fd file(::open(path.c_str(), (how == access::read ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!file) return tl::unexpected(storage_call_failed("opening", path, errno));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return tl::unexpected(storage_call_failed("fstat of", path, errno));
  if (status.st_size < static_cast<off_t>(log_lane_bytes)) {
    return tl::unexpected(error(errc::corrupt, path + ": cut short: " + std::to_string(status.st_size) + " bytes"));
  }
  auto memory = map_file(file.get(), log_lane_bytes, how, path.c_str());
  if (!memory) return tl::unexpected(std::move(memory.error()));
  log_lane lane{directory, std::move(*memory), {}};
  if (auto checked = check_lane_header(lane.header(), path); !checked) {
    return tl::unexpected(std::move(checked.error()));
  }
  return lane;
}

std::string path_of_topic(const std::string& root, const std::string& topic) {
  std::string name = topic;
  std::replace(name.begin(), name.end(), '/', '+');
  return root + "/" + name;
}

result<void> check_topic_directory_name(const std::string& topic) {
  if (topic != "." && topic != "..") return {};
  return tl::unexpected(error(errc::invalid_name, "a topic on disk is a directory, which can not be called " + topic));
}

result<topic_directory> look_at_topic_directory(const std::string& root, const std::string& topic) {
  const std::unique_ptr<char, void (*)(void*)> whole(::realpath(root.c_str(), nullptr), ::free);
  if (!whole) return tl::unexpected(storage_call_failed("looking for the directory", root, errno));
  topic_directory found{whole.get()};
  const std::string path = path_of_topic(found.root, topic);
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0)
    return tl::unexpected(storage_call_failed("looking for the directory", path, errno));
  if (!S_ISDIR(status.st_mode)) return tl::unexpected(storage_call_failed("looking for the directory", path, ENOTDIR));
  found.device = status.st_dev;
  found.inode = status.st_ino;
  return found;
}

}  // namespace

result<topic_directory> make_topic_directory(const std::string& root, const std::string& topic) {
  if (auto ok = check_topic_directory_name(topic); !ok) return tl::unexpected(std::move(ok.error()));
  for (const std::string& path : {root, path_of_topic(root, topic)}) {
    if (auto made = make_directory(path); !made) return tl::unexpected(std::move(made.error()));
  }
  if (auto local = check_file_system(path_of_topic(root, topic)); !local)
    return tl::unexpected(std::move(local.error()));
  return look_at_topic_directory(root, topic);
}

result<topic_directory> find_topic_directory(const std::string& root, const std::string& topic) {
  if (auto ok = check_topic_directory_name(topic); !ok) return tl::unexpected(std::move(ok.error()));
  return look_at_topic_directory(root, topic);
}

u64 durable_check(u64 position, const u64 (&lane_id)[2]) noexcept {
  const u64 words[3] = {position, lane_id[0], lane_id[1]};
  return u64{crc32c_words(~u32{0}, reinterpret_cast<const std::byte*>(words), sizeof words)} | u64{1} << 32;
}

u64 known_durable(const log_lane_header& header) noexcept {
  // sync(segment.durable): of a pair that is being stored one may be new: the check finds that out
  const u64 check = load_acquire(header.durable_check);
  const u64 position = load_acquire(header.durable_position);
  return check == durable_check(position, header.lane_id) ? position : 0;
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
  return path_of_topic(root, topic) + "/" + name;
}

result<log_lane> open_lane_to_write(const std::string& root, const std::string& topic, const std::string& name) {
  if (auto named = check_lane_name(name); !named) return tl::unexpected(std::move(named.error()));
  const std::string directory = lane_directory(root, topic, name);
  for (const std::string& path : {root, path_of_topic(root, topic), directory}) {
    if (auto made = make_directory(path); !made) return tl::unexpected(std::move(made.error()));
  }
  if (auto local = check_file_system(directory); !local) return tl::unexpected(std::move(local.error()));
  const std::string path = directory + "/" + lane_file_name;
  if (::access(path.c_str(), F_OK) != 0) {
    // A new id would make all that is there segments of another lane.
    if (!list_segments(directory).empty() && ::access(path.c_str(), F_OK) != 0) {
      return tl::unexpected(error(errc::corrupt, path + " is missing, and there are segments: `repair` makes it anew"));
    }
    const auto random = random_id();
    const u64 id[2] = {random[0], random[1]};
    if (auto made = make_lane_file(directory, id); !made) return tl::unexpected(std::move(made.error()));
  }
  return open_lane_directory_to_write(directory);
}

result<log_lane> open_lane_to_read(const std::string& root, const std::string& topic, const std::string& name) {
  if (auto named = check_lane_name(name); !named) return tl::unexpected(std::move(named.error()));
  return open_at(lane_directory(root, topic, name), access::read);
}

result<log_lane> open_lane_directory_to_write(const std::string& directory) {
  const std::string path = directory + "/" + lane_file_name;
  auto lane = open_at(directory, access::read_write);
  if (!lane) return lane;
  int why = 0;
  lane->lock = guarded_fd::opened_by([&] {
    fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!file) why = errno;
    return file;
  });
  if (!lane->lock) return tl::unexpected(storage_call_failed("opening", path, why));
  switch (try_lock(lane->lock.get(), writer_lock_byte)) {
    case lock_status::taken: break;
    case lock_status::held_by_other:
      return tl::unexpected(error(errc::busy, directory + " is being written by process " +
                                                  // relaxed: for people
                                                  std::to_string(load_relaxed(lane->header().holder_pid)) +
                                                  "; a lane has one publisher at a time: give this one another name"));
    case lock_status::failed: return tl::unexpected(storage_call_failed("locking", path, errno));
  }
  store_relaxed(lane->header().holder_pid, static_cast<u64>(::getpid()));  // relaxed: for people
  return lane;
}

result<log_lane> open_lane_directory(const std::string& directory) { return open_at(directory, access::read); }

result<log_lane> imagine_lane(const std::string& directory, const u64 (&id)[2]) {
  auto memory = map_private(log_lane_bytes);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  log_lane lane{directory, std::move(*memory), {}};
  fill_lane_header(lane.header(), id);
  return lane;
}

result<log_lane> renew_lane_file(const std::string& directory, const u64 (&id)[2]) {
  const std::string path = directory + "/" + lane_file_name;
  // Whoever writes the lane has locked the old one.
  if (const fd old(::open(path.c_str(), O_RDWR | O_CLOEXEC)); old) {
    if (try_lock(old.get(), writer_lock_byte) != lock_status::taken) {
      return tl::unexpected(error(errc::busy, directory + " is being written by another process"));
    }
    if (auto gone = set_file_aside(path); !gone) return tl::unexpected(std::move(gone.error()));
  } else if (errno != ENOENT) {
    return tl::unexpected(storage_call_failed("opening", path, errno));
  }
  if (auto made = make_lane_file(directory, id); !made) return tl::unexpected(std::move(made.error()));
  return open_lane_directory_to_write(directory);
}

bool lane_is_held(const std::string& directory) noexcept {
  const fd file(::open((directory + "/" + lane_file_name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return false;
  // What cannot be asked is alive.
  return !file || held_by_other(file.get(), writer_lock_byte, 1);
}

std::vector<std::string> list_lanes(const std::string& root, const std::string& topic, int* why) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path_of_topic(root, topic).c_str()), ::closedir);
  if (why != nullptr) *why = folder || errno == ENOENT ? 0 : errno;
  if (!folder) return names;
  while (const dirent* const entry = ::readdir(folder.get())) {
    if (check_lane_name(entry->d_name)) names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace quoit::inline v1::detail
