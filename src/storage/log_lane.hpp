// The directory of a lane on disk, and the file in it that says who writes the lane.
//
// DIR/<topic>/<publisher>/ with `/` of the topic stored as `+`: the lane's own file `lane`, and segments by number. The
// lock of the lane is on `lane`, through a description opened for nothing else, as everywhere in quoit: a publisher
// lives as long as it holds it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fork_guard.hpp"
#include "mem/mapping.hpp"
#include "quoit/detail/segment_layout.hpp"
#include "storage/directory_handle.hpp"
#include "storage/lane_records.hpp"
#include "storage/made_names.hpp"

namespace quoit::inline v1::detail {

struct log_lane {
  directory_handle where;
  file_identity file;   // of `lane`
  bool copied = false;  // its last publisher wrote another file, of which this is a copy
  fd descriptor;        // of it, to sync; not the one that is locked
  mapping memory;
  guarded_fd lock;      // of a publisher; none for a reader
  std::string path;     // of `lane`, absolute, for a publisher: where others look for it
  bool is_new = false;  // this opening made it, and nothing was published in it before its lock was taken

  log_lane_header& header() const noexcept { return memory.object<log_lane_header>(); }
  // False: other processes find another lane at its path, or none.
  bool is_at_its_path() const noexcept { return leads_to(path, file); }
};

// The directory of a topic, DIR/<topic>.
struct topic_directory {
  std::string root;      // DIR, absolute and without links
  std::string as_named;  // DIR, absolute
  file_identity topic;   // of DIR/<topic>
};

// Makes DIR and DIR/<topic> where they are missing; the directory that DIR is in has to be there.
// Errors: invalid_name (a topic that can be no directory), invalid_argument (a network file system), no_permission,
// not_found (where DIR would be), no_space, system.
// `made` hears of what this call made.
result<topic_directory> make_topic_directory(const std::string& root, const std::string& topic,
                                             made_names* made = nullptr);
// Makes nothing. Errors: as above; not_found: nobody has published this topic there.
result<topic_directory> find_topic_directory(const std::string& root, const std::string& topic);
result<directory_handle> open_topic_directory(const std::string& root, const std::string& topic);

// Errors: invalid_name (1 to 64 of [A-Za-z0-9_.-], not beginning with a dot).
result<void> check_lane_name(std::string_view name);

// Makes the directories where they are missing, makes or opens the lane's file, and takes its lock.
// Errors: busy (words name the holder), not_found (they are renamed or removed meanwhile), invalid_name,
// invalid_argument (a network file system), no_permission, limit_reached (descriptors), no_space, corrupt,
// newer_version, system. `made` hears of what this call made.
result<log_lane> open_lane_to_write(const std::string& root, const std::string& topic, const std::string& name,
                                    made_names* made = nullptr);

// Errors: not_found, no_permission, corrupt, newer_version, system.
result<log_lane> open_lane_to_read(const std::string& root, const std::string& topic, const std::string& name);

// Whether a publisher holds the lane in this directory, in this process or another. Nothing: its file is not there.
std::optional<bool> lane_is_held(const directory_handle& where) noexcept;

struct storage_calls;
// Puts what the lane's file says on the disk. Errors: system.
result<void> synchronize_lane(const log_lane& lane, const storage_calls& calls);

// By its directory, which has to be there. Errors: as open_lane_to_write().
result<log_lane> open_lane_directory_to_write(directory_handle where);
// The same without its lock. Errors: as open_lane_to_read().
result<log_lane> open_lane_directory(directory_handle where);

// A lane whose file is missing or wrong, in memory alone, as it would be with one that has this id: nothing of it is
// known to be on the disk. Errors: no_space.
result<log_lane> imagine_lane(directory_handle where, const u64 (&id)[2]);
// Sets such a file aside as `lane.cut`, makes one with this id, and takes its lock. Errors: as open_lane_to_write().
result<log_lane> renew_lane_file(directory_handle where, const u64 (&id)[2]);

// Names of the lanes of a topic. `why`: the errno of a directory that cannot be read, or else 0.
std::vector<std::string> list_lanes(const directory_handle& topic, int* why = nullptr);

std::string lane_directory(const std::string& root, const std::string& topic, const std::string& name);

}  // namespace quoit::inline v1::detail
