// How far a named subscription came: DIR/<topic>/.subscriptions/<name>.
//
// N1. A commit is stores to memory that is mapped: check 0, what is said, then the check. Whoever is killed in it
// leaves
//     that slot without its check, and the other one with the commit before.
// N2. A lane is in the table, whole, before a commit speaks of it. A commit counts if its check is right, and those of
// all
//     its lanes: so whatever order the kernel writes pages back in, a commit is read as it was made, or not at all.
// N3. Both slots may be on their way to the disk when the power goes, and both be torn. So the third one gets the
// commit
//     with which the subscription was opened, when nothing else is on its way, and is synced before the other two
//     change.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fork_guard.hpp"
#include "mem/mapping.hpp"
#include "quoit/cursor.hpp"
#include "quoit/detail/subscription_layout.hpp"
#include "storage/directory_handle.hpp"
#include "storage/made_names.hpp"

namespace quoit::inline v1::detail {

class kept_reader;

// Thread safety: one thread. In a forked child nothing may be called but the destructor.
class subscription_file {
 public:
  // Takes the subscription, and makes it where it is new; `made` hears of that. The topic's directory is there.
  // Errors: busy (words name the holder), invalid_name, invalid_argument (a file system that cannot allocate ahead),
  // no_permission, no_space, corrupt, newer_version, system.
  static result<std::unique_ptr<subscription_file>> open(const std::string& root, const std::string& topic,
                                                         const std::string& name, made_names* made = nullptr);
  subscription_file(const subscription_file&) = delete;
  subscription_file& operator=(const subscription_file&) = delete;

  // Where it goes on; nothing: it never was anywhere.
  const std::optional<cursor>& found() const noexcept { return found_; }

  // The reader stands where the subscription goes on, or begins: that is on the disk when this returns.
  // Errors: limit_reached, system.
  result<void> begin(kept_reader& reader);

  // Everything that the reader gave out and got back is done. Makes no system call, but one for each lane that is new,
  // and one each second. Errors: limit_reached (value: lanes that a subscription can remember), not_found (the file is
  // not at its path any more: the next holder does not find what is committed here).
  result<void> commit(kept_reader& reader);

  u64 commits() const noexcept { return commit_; }
  const std::string& path() const noexcept { return path_; }

 private:
  subscription_file() = default;

  static result<std::unique_ptr<subscription_file>> open_in(const directory_handle& topic, const std::string& name,
                                                            made_names* made);
  subscription_header& header() const noexcept { return memory_.object<subscription_header>(); }
  remembered_lane& entry(u32 i) const noexcept {
    return memory_.object<remembered_lane>(subscription_header_bytes + sizeof(remembered_lane) * i);
  }
  commit_slot& slot(u32 i) const noexcept {
    return memory_.object<commit_slot>(commit_slots_offset + sizeof(commit_slot) * i);
  }
  result<void> read();
  bool read_lane(u32 i, cursor::place& out, u64& check) const;
  bool read_slot(u32 i, std::vector<cursor::place>& out, u64& commit, std::vector<u64>& checks) const;
  result<u32> remember(const std::string& name, const u64 (&id)[2]);
  result<void> gather(kept_reader& reader);
  void store(u32 slot_index) noexcept;
  result<void> synchronize() const;
  result<void> check_path();

  std::string path_;  // absolute
  file_identity identity_;
  std::chrono::steady_clock::time_point next_look_{};
  fd file_;
  mapping memory_;
  guarded_fd lock_;
  u32 salt_ = 0;
  u64 commit_ = 0;                // the last one
  std::vector<u64> sequences_;    // of the lanes of the table, as the last commit had them
  std::vector<u64> lane_checks_;  // of the same
  std::optional<cursor> found_;
  bool found_in_anchor_ = false;
};

}  // namespace quoit::inline v1::detail
