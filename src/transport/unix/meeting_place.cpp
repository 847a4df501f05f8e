#include "transport/unix/meeting_place.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/directory_names.hpp"
#include "base/file_lock.hpp"
#include "base/file_size_limit.hpp"
#include "base/name_hash.hpp"
#include "base/random.hpp"
#include "base/type_difference.hpp"
#include "mem/shm_file.hpp"
#include "topic/names.hpp"
#include "transport/unix/sockets.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int place_attempts_max = 100;
constexpr off_t lock_byte = 0;

std::string hexadecimal(u64 value) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = digits[value & 15];
  return text;
}

// A topic's name of any length becomes one that fits into the path of a socket.
std::string directory_name_of(std::string_view topic) { return hexadecimal(hash_of_name(topic)); }

// Empty where there is no such directory.
result<std::vector<std::string>> names_in(const std::string& directory) {
  auto names = names_in_directory(directory);
  if (!names && names.error() == errc::not_found) return std::vector<std::string>();
  return names;
}

// Of what cannot be read, none: for listings, and for what is done again by whoever comes next.
std::vector<std::string> names_seen_in(const std::string& directory) {
  auto names = names_in(directory);
  return names ? std::move(*names) : std::vector<std::string>();
}

// A directory of ours that nobody else may write in.
result<void> private_directory(const std::string& path, bool make) {
  if (make && ::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return tl::unexpected(descriptor_error("making the directory " + path, errno));
  }
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return tl::unexpected(descriptor_error("looking at " + path, errno));
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return tl::unexpected(
        error(errc::no_permission, path + " is no directory that this user owns and only this user may write in: "
                                          "remove it, or choose another (the environment variable QUOIT_SOCKETS)"));
  }
  return {};
}

bool is_socket(std::string_view name) { return name.ends_with(".s"); }
bool is_record(std::string_view name) {
  return name.size() == 17 && (name[0] == 'p' || name[0] == 's' || name[0] == 'o');
}
// An observer keeps no topic alive.
bool keeps_alive(std::string_view name) { return is_record(name) && name[0] != 'o'; }

char letter_of(member_role role) {
  return role == member_role::publisher ? 'p' : role == member_role::subscriber ? 's' : 'o';
}

template <std::size_t N>
std::string_view text_in(const char (&text)[N]) {
  return {text, ::strnlen(text, N)};
}

template <class Record>
bool read_record(int file, Record& out, u64 magic) {
  return ::pread(file, &out, sizeof out, 0) == static_cast<ssize_t>(sizeof out) && out.magic == magic;
}

template <class Record>
result<void> write_record(int file, const Record& record, const std::string& path) {
  const int why = write_whole(file, &record, sizeof record);
  if (why == EFBIG) return tl::unexpected(file_size_limit_reached("writing " + path, sizeof record));
  if (why != 0) return tl::unexpected(descriptor_error("writing " + path, why));
  return {};
}

result<void> check_version(u32 found, const std::string& path) {
  if (found == wire_version) return {};
  return tl::unexpected(error(errc::newer_version, path + " speaks version " + std::to_string(found) +
                                                       " of the kernel path, this library version " +
                                                       std::to_string(wire_version) +
                                                       ": use one version of quoit on a bus"));
}

// Alive: somebody holds the lock of the record. Nothing is decided about one that cannot be opened.
struct looked_at {
  bool alive = true;
  bool whole = false;
  member_record record{};
  int why = 0;
};
looked_at look_at_member(const std::string& path) {
  looked_at found;
  const fd file = open_file(path, O_RDWR | O_NOFOLLOW);
  if (!file) {
    found.why = errno;
    found.alive = errno != ENOENT;
    return found;
  }
  found.alive = held_by_other(file.get(), lock_byte, 1);
  found.whole = read_record(file.get(), found.record, member_magic);
  return found;
}

// Through a description of its own: a mapping keeps a description, and with it the lock.
result<mapping> map_record(const std::string& path) {
  const fd file = open_file(path, O_RDWR | O_NOFOLLOW);
  if (!file) return tl::unexpected(descriptor_error("opening " + path, errno));
  return map_file(file.get(), sizeof(member_record), access::read_write, path.c_str());
}

void remove_member(const std::string& path) noexcept {
  ::unlink((path + ".s").c_str());
  ::unlink(path.c_str());
}

}  // namespace

result<std::string> sockets_directory(bool make) {
  std::string path;
  const char* const chosen = std::getenv("QUOIT_SOCKETS");
  const char* const runtime = std::getenv("XDG_RUNTIME_DIR");
  if (chosen != nullptr && *chosen == '/') {
    path = chosen;
  } else if (runtime != nullptr && *runtime == '/') {
    path = std::string(runtime) + "/quoit";
  } else {
    path = "/tmp/quoit-" + std::to_string(::geteuid());
  }
  if (auto ok = private_directory(path, make); !ok) return tl::unexpected(std::move(ok.error()));
  return path;
}

result<meeting_place::opened> meeting_place::find(const std::string& bus, std::string_view topic, const type_info& type,
                                                  std::chrono::nanoseconds lock_timeout) {
  auto bare = checked_topic_name(topic);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  const auto missing = [&] {
    return tl::unexpected(error(errc::not_found, "topic " + *bare + " does not exist: an observer makes none"));
  };
  const auto base = sockets_directory(false);
  if (!base && base.error() != errc::not_found) return tl::unexpected(base.error());
  if (!base || ::access((*base + "/" + bus + "/" + directory_name_of(*bare) + "/topic").c_str(), F_OK) != 0) {
    return missing();
  }
  auto found = open(bus, topic, type, {}, lock_timeout);
  if (!found) return found;
  for (const member_role role : {member_role::publisher, member_role::subscriber}) {
    const auto there = found->place.members(role);
    if (!there || !there->empty()) return found;
  }
  // It was left by the dead, or meanwhile.
  found->place.remove_if_unused();
  return missing();
}

result<meeting_place::opened> meeting_place::open(const std::string& bus, std::string_view topic, const type_info& type,
                                                  const topic_limits& limits, std::chrono::nanoseconds lock_timeout) {
  auto bare = checked_topic_name(topic);
  if (!bare) return tl::unexpected(std::move(bare.error()));
  if (type.name.size() > type_name_bytes_max || type.fields.size() > type_fields_bytes_max) {
    return tl::unexpected(error(errc::invalid_argument, "the name of the type, or its description, is too long"));
  }
  place_record wanted{};
  wanted.magic = place_magic;
  wanted.version = wire_version;
  wanted.type_bytes = type.bytes;
  wanted.type_alignment = type.alignment;
  wanted.publishers_max = limits.publishers_max;
  wanted.subscriptions_max = limits.subscriptions_max;
  bare->copy(wanted.name, sizeof wanted.name - 1);
  type.name.copy(wanted.type_name, sizeof wanted.type_name - 1);
  type.fields.copy(wanted.type_fields, sizeof wanted.type_fields - 1);

  for (int attempt = 0; attempt < place_attempts_max; ++attempt) {
    auto base = sockets_directory(true);
    if (!base) return tl::unexpected(std::move(base.error()));
    const std::string of_bus = *base + "/" + bus;
    meeting_place place;
    place.directory_ = of_bus + "/" + directory_name_of(*bare);
    place.name_ = *bare;
    // Leaving waits a little in any case: what nobody removes stays there.
    place.lock_timeout_ = std::max<std::chrono::nanoseconds>(lock_timeout, std::chrono::seconds(1));
    // What nobody uses goes again.
    const auto refused = [&](error why) {
      ::rmdir(place.directory_.c_str());
      ::rmdir(of_bus.c_str());
      return tl::unexpected(std::move(why));
    };
    for (const std::string& path : {of_bus, place.directory_}) {
      // ENOENT: somebody left, and removed what is above it.
      auto ok = private_directory(path, true);
      if (!ok && ok.error().code() != errc::not_found) return refused(std::move(ok.error()));
    }
    const std::string file = place.directory_ + "/topic";
    int why = 0;
    guarded_fd locked = guarded_fd::opened_by([&] {
      fd descriptor = open_file(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
      if (!descriptor) why = errno;
      return descriptor;
    });
    if (!locked && why == ENOENT) continue;
    if (!locked) return refused(descriptor_error("opening " + file, why));
    switch (lock(locked.get(), lock_byte, lock_timeout)) {
      case lock_status::taken: break;
      case lock_status::held_by_other:
        return tl::unexpected(error(errc::busy, "the lock of " + file +
                                                    " was held for longer than lock_timeout: some process that opens "
                                                    "or closes the topic is stopped, or stands in a debugger"));
      default: return tl::unexpected(error(errc::system, "locking " + file, 0, errno));
    }
    if (is_unlinked(locked.get())) continue;
    const bool whole = read_record(locked.get(), place.record_, place_magic);
    const bool is_new = file_bytes(locked.get()) == 0;  // nobody enters before it has its record
    const auto refused_with_lock = [&](error why_not) {
      if (is_new) ::unlink(file.c_str());
      if (!is_new) place.remove_if_unused();
      return refused(std::move(why_not));
    };
    if (whole) {
      if (auto ok = check_version(place.record_.version, file); !ok) return refused_with_lock(std::move(ok.error()));
      place_record same = place.record_;
      same.publishers_max = wanted.publishers_max;
      same.subscriptions_max = wanted.subscriptions_max;
      if (std::memcmp(&same, &wanted, sizeof same) == 0) return opened{std::move(place), std::move(locked)};
    }
    // Nobody's yet, or of those who are dead: then it is what we want.
    for (const member_role role : {member_role::publisher, member_role::subscriber}) {
      auto there = place.members(role);
      if (!there) return refused_with_lock(std::move(there.error()));
      if (there->empty()) continue;
      if (!whole) return tl::unexpected(error(errc::corrupt, file + " is no topic: remove " + place.directory_));
      const place_record& found = place.record_;
      return tl::unexpected(
          error(errc::type_mismatch,
                "topic " + std::string(text_in(found.name)) + " carries another type than the one asked for: " +
                    type_difference(
                        {text_in(found.type_name), found.type_bytes, found.type_alignment, text_in(found.type_fields)},
                        type)));
    }
    if (::ftruncate(locked.get(), 0) != 0) return refused_with_lock(descriptor_error("writing " + file, errno));
    if (auto written = write_record(locked.get(), wanted, file); !written) {
      return refused_with_lock(std::move(written.error()));
    }
    place.record_ = wanted;
    return opened{std::move(place), std::move(locked)};
  }
  return tl::unexpected(error(errc::busy, "topic " + *bare + " comes and goes all the time"));
}

result<std::vector<member>> meeting_place::members(member_role role) const {
  std::vector<member> found;
  auto names = names_in(directory_);
  // Not known to be empty: the topic belongs to whoever is there.
  if (!names) return tl::unexpected(std::move(names.error()));
  for (const std::string& name : *names) {
    const std::string path = directory_ + "/" + name;
    if (is_socket(name)) {
      // Without a record it is of somebody who died while it came or went.
      if (::access(path.substr(0, path.size() - 2).c_str(), F_OK) != 0 && errno == ENOENT) ::unlink(path.c_str());
      continue;
    }
    if (!is_record(name)) continue;
    looked_at seen = look_at_member(path);
    if (!seen.alive) {
      remove_member(path);
      continue;
    }
    if (seen.why != 0) return tl::unexpected(descriptor_error("opening " + path, seen.why));
    if (name[0] != letter_of(role)) continue;
    if (!seen.whole || seen.record.role != role) {
      return tl::unexpected(error(errc::corrupt, path + " is no participant's record: stop the bus and remove it"));
    }
    if (auto ok = check_version(seen.record.version, path); !ok) return tl::unexpected(std::move(ok.error()));
    found.push_back({path + ".s", seen.record});
  }
  return found;
}

result<registration> meeting_place::enter(const member_record& record) const {
  registration own;
  own.path = directory_ + "/" + letter_of(record.role) + hexadecimal(random_id()[0]);
  int why = 0;
  own.record = guarded_fd::opened_by([&] {
    fd descriptor = open_file(own.path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (!descriptor) why = errno;
    return descriptor;
  });
  if (!own.record) return tl::unexpected(descriptor_error("making " + own.path, why));
  if (try_lock(own.record.get(), lock_byte) != lock_status::taken) {
    const int number = errno;
    ::unlink(own.path.c_str());
    return tl::unexpected(descriptor_error("locking " + own.path, number));
  }
  if (auto written = write_record(own.record.get(), record, own.path); !written) {
    ::unlink(own.path.c_str());
    return tl::unexpected(std::move(written.error()));
  }
  auto memory = map_record(own.path);
  auto listener = memory ? listen_at(own.path + ".s") : tl::unexpected(std::move(memory.error()));
  if (!listener) {
    ::unlink(own.path.c_str());
    return tl::unexpected(std::move(listener.error()));
  }
  own.memory = std::move(*memory);
  own.listener = std::move(*listener);
  return own;
}

void meeting_place::leave(registration& own) const noexcept {
  guarded_fd locked = guarded_fd::opened_by([&] { return open_file(directory_ + "/topic", O_RDWR | O_NOFOLLOW); });
  const bool have = locked && lock(locked.get(), lock_byte, lock_timeout_) == lock_status::taken;
  // Whoever is in the middle of coming finds a socket that nobody listens at, and goes on.
  own.listener.reset();
  remove_member(own.path);
  own.record.reset();
  if (have && !is_unlinked(locked.get())) remove_if_unused();
}

void meeting_place::remove_if_unused() const noexcept {
  const std::vector<std::string> names = names_seen_in(directory_);
  for (const std::string& name : names) {
    if (keeps_alive(name) && look_at_member(directory_ + "/" + name).alive) return;
  }
  for (const std::string& name : names) ::unlink((directory_ + "/" + name).c_str());
  ::rmdir(directory_.c_str());
  // While there are other topics, it stays.
  ::rmdir(directory_.substr(0, directory_.rfind('/')).c_str());
}

result<bool> bus_has_members(const std::string& bus) {
  const auto base = sockets_directory(false);
  // Nobody of this user is in another's directory.
  if (!base) return false;
  const auto topics = names_in(*base + "/" + bus);
  if (!topics) return tl::unexpected(topics.error());
  for (const std::string& topic : *topics) {
    const auto names = names_in(*base + "/" + bus + "/" + topic);
    if (!names) return tl::unexpected(names.error());
    for (const std::string& name : *names) {
      if (keeps_alive(name) && look_at_member(*base + "/" + bus + "/" + topic + "/" + name).alive) return true;
    }
  }
  return false;
}

void clean_meeting_places(const std::string& bus) noexcept try {
  const auto base = sockets_directory(false);
  if (!base) return;
  const std::string of_bus = *base + "/" + bus;
  for (const std::string& topic : names_seen_in(of_bus)) {
    const std::string directory = of_bus + "/" + topic;
    guarded_fd locked = guarded_fd::opened_by([&] { return open_file(directory + "/topic", O_RDWR | O_NOFOLLOW); });
    if (!locked) {
      ::rmdir(directory.c_str());  // of somebody who died before it made a file in it
      continue;
    }
    if (try_lock(locked.get(), lock_byte) != lock_status::taken || is_unlinked(locked.get())) continue;
    bool lives = false;
    const std::vector<std::string> names = names_seen_in(directory);
    for (const std::string& name : names) {
      if (!is_record(name)) continue;
      const bool alive = look_at_member(directory + "/" + name).alive;
      if (!alive) remove_member(directory + "/" + name);
      lives = lives || (alive && keeps_alive(name));
    }
    if (lives) continue;
    for (const std::string& name : names) ::unlink((directory + "/" + name).c_str());
    ::rmdir(directory.c_str());
  }
  ::rmdir(of_bus.c_str());
} catch (const std::bad_alloc&) {
  // Left to the next one.
}

std::vector<place_info> list_meeting_places(const std::string& bus) {
  std::vector<place_info> places;
  const auto base = sockets_directory(false);
  if (!base) return places;
  for (const std::string& topic : names_seen_in(*base + "/" + bus)) {
    const std::string directory = *base + "/" + bus + "/" + topic;
    place_info info;
    const fd file = open_file(directory + "/topic", O_RDONLY | O_NOFOLLOW);
    if (!file || !read_record(file.get(), info.topic, place_magic)) continue;
    for (const std::string& name : names_seen_in(directory)) {
      if (!keeps_alive(name)) continue;
      const looked_at seen = look_at_member(directory + "/" + name);
      if (seen.alive && seen.whole) info.members.push_back(seen.record);
    }
    places.push_back(info);
  }
  return places;
}

std::vector<std::string> buses_with_sockets() {
  const auto base = sockets_directory(false);
  return base ? names_seen_in(*base) : std::vector<std::string>{};
}

}  // namespace quoit::inline v1::detail
