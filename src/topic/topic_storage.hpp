// Where the messages of a topic are: in memory, or in a directory as well.
//
// That is the publishers' matter: a topic on which only subscribers are, none of which named a directory, is kept where
// its next publisher wants it. Each change is a *storage record*, a segment that is written once:
// `<topic>@<generation>d`. The topic's word `storage` names the one that counts, and each names the one before it.
//
// S1. A record is whole, and has its name, before `storage` names it; that is stored last, under the topic's lock, and
//     then the roster changes. So whoever looks at the roster and then at `storage` finds the record.
// S2. A subscriber goes through the records that came since its own entry was made, or since the last one it went
//     through (`storage_seen`), the oldest first. A record stays until every subscriber has gone through it.
// S3. A record says where the lanes of its directory ended before the publisher that made it published anything. So
//     a subscriber that was there before begins at those ends, whenever it gets to it, and misses nothing.
// S4. A place changes only while no publisher is alive on the topic, and no subscriber that named a directory. So all
//     that is published while a record counts is in the place that it names.
// S5. A record that was placed and is named by nobody is left of a process that died: `storage_making` named it before
//     it was placed, and whoever makes the next one, or removes the topic, removes it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mem/segment_store.hpp"
#include "quoit/detail/topic_layout.hpp"

namespace quoit::inline v1::detail {

struct topic_place {
  std::string directory;  // DIR, absolute; empty: in memory alone
  u64 device = 0;         // of DIR/<topic>: two names of one directory are the same place
  u64 inode = 0;

  bool in_memory() const noexcept { return directory.empty(); }
  // False of a directory that is asked for, and not made yet.
  bool is_there() const noexcept { return inode != 0; }
  // For people.
  std::string described() const;
  friend bool operator==(const topic_place& a, const topic_place& b) noexcept {
    return a.in_memory() == b.in_memory() && (a.in_memory() || (a.device == b.device && a.inode == b.inode));
  }
};

struct storage_record {
  u64 generation = 0;  // 0: none was made, and the topic is in memory
  u64 previous = 0;    // of the record before it; 0: none
  topic_place place;
  // Where its lanes ended (S3), as the text of a cursor. Nothing: no subscription was there; observers do not count.
  std::optional<std::string> ends;
};

// Errors: not_found (it was removed), corrupt, newer_version, no_permission, limit_reached, system.
result<storage_record> read_storage_record(segment_store& store, const std::string& topic_file, u64 generation);
// Under the topic's lock. Errors: no_space, no_permission, limit_reached, busy, corrupt (it is there), system.
result<void> make_storage_record(segment_store& store, const std::string& temporary_prefix,
                                 const std::string& topic_file, const storage_record& record,
                                 const shm_permissions& permissions);

}  // namespace quoit::inline v1::detail
