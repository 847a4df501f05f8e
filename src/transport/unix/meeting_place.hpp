// Where the publishers and subscribers of a topic find each other without shared memory: a directory of the user's.
//
//   <sockets>/<bus>/<hash of the topic>/topic   what the topic carries; its lock is that of coming and going
//                                      /p<id>   a publisher: a record, locked as long as it lives
//                                      /s<id>   a subscriber, likewise
//                                      /o<id>   an observer, likewise; it keeps no topic alive
//                                      /p<id>.s, s<id>.s, o<id>.s   the socket at which each listens
//
// Whoever comes, with the lock: enters, and connects to everybody of the other side. So each pair has one connection,
// made by the later of the two. Whoever finds a record whose lock is free removes it and its socket; the last one to
// leave removes the directory.
#pragma once

#include <string>
#include <vector>

#include "base/fork_guard.hpp"
#include "mem/mapping.hpp"
#include "quoit/options.hpp"
#include "quoit/result.hpp"
#include "topic/topic.hpp"
#include "transport/unix/wire.hpp"

namespace quoit::inline v1::detail {

struct member {
  std::string socket_path;
  member_record record{};
};

// A participant's own files; gone with leave().
struct registration {
  std::string path;  // of the record; the socket's has ".s" behind it
  guarded_fd record;
  guarded_fd listener;
  mapping memory;  // of the record

  // Where others see them: no system call.
  member_counters& counted() const noexcept { return memory.object<member_record>().counted; }
};

class meeting_place {
 public:
  struct opened;
  // Errors: invalid_name, type_mismatch, no_permission, no_space, busy, newer_version, corrupt, system.
  static result<opened> open(const std::string& bus, std::string_view topic, const type_info& type,
                             const topic_limits& limits, std::chrono::nanoseconds lock_timeout);
  // The same without making it, for an observer. Errors: also not_found.
  static result<opened> find(const std::string& bus, std::string_view topic, const type_info& type,
                             std::chrono::nanoseconds lock_timeout);

  const std::string& name() const noexcept { return name_; }
  const place_record& record() const noexcept { return record_; }

  // ---- with the lock held ----
  // Of the other side, or of one's own. Errors: limit_reached, system.
  result<std::vector<member>> members(member_role role) const;
  // Errors: limit_reached, no_space, no_permission, invalid_argument (the path is too long), system.
  result<registration> enter(const member_record& record) const;

  // Takes the lock. What cannot be removed is left to whoever comes next.
  void leave(registration& own) const noexcept;
  // With the lock held: removes the directory if nobody is in it.
  void remove_if_unused() const noexcept;

 private:
  std::string directory_;
  std::string name_;
  place_record record_{};
  std::chrono::nanoseconds lock_timeout_{};
};

struct meeting_place::opened {
  meeting_place place;
  guarded_fd lock;
};

// The directory of all buses on the kernel path: the environment variable QUOIT_SOCKETS, or else
// $XDG_RUNTIME_DIR/quoit, or else /tmp/quoit-<uid>. Errors: no_permission (another user's, or others may write in it).
result<std::string> sockets_directory(bool make);
// True if a participant of the bus lives on the kernel path. Errors: limit_reached (descriptors), no_permission,
// system.
result<bool> bus_has_members(const std::string& bus);
// Removes what dead participants left of the bus.
void clean_meeting_places(const std::string& bus) noexcept;

struct place_info {
  place_record topic{};
  std::vector<member_record> members;
};
// What there is, for listings; nothing is locked or changed.
std::vector<place_info> list_meeting_places(const std::string& bus);
std::vector<std::string> buses_with_sockets();

}  // namespace quoit::inline v1::detail
