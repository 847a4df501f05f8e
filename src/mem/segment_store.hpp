// Where the segments of a bus are: files of /dev/shm, or objects in memory that processes inherit.
//
// A segment is made whole under a temporary name and put in place by an act that replaces nothing. It has locks, and
// whoever waited for one asks whether the segment still has its name. Removed, it stays for those who have it.
//
// Nothing here is on a path that messages take. Thread safety: any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/file_lock.hpp"
#include "mem/shm_file.hpp"

namespace quoit::inline v1::detail {

// The locks of one segment, through an open file description of their own. Nothing is mapped through it, a forked child
// closes it, and what it holds goes with it.
class segment_locks {
 public:
  segment_locks() = default;
  // Of a file.
  explicit segment_locks(guarded_fd descriptor) noexcept : descriptor_(std::move(descriptor)) {}
  // Of an object in a directory: its bytes begin at `base`, its word is `word`, and `use` keeps both.
  segment_locks(guarded_fd descriptor, std::shared_ptr<const void> use, off_t base, const std::uint64_t& word,
                std::uint64_t generation) noexcept
      : use_(std::move(use)), descriptor_(std::move(descriptor)), base_(base), word_(&word), generation_(generation) {}

  explicit operator bool() const noexcept { return static_cast<bool>(descriptor_); }
  void reset() noexcept {
    descriptor_.reset();
    use_.reset();
  }

  lock_status try_lock(off_t byte) noexcept { return detail::try_lock(descriptor_.get(), base_ + byte); }
  lock_status lock(off_t byte, std::chrono::nanoseconds timeout) noexcept {
    return detail::lock(descriptor_.get(), base_ + byte, timeout);
  }
  void unlock(off_t byte) noexcept { detail::unlock(descriptor_.get(), base_ + byte); }
  bool held_by_other(off_t first, off_t count) const noexcept {
    return detail::held_by_other(descriptor_.get(), base_ + first, count);
  }

  int fd() const noexcept { return descriptor_.get(); }

  // True if the segment has no name any more: whoever waited for its lock starts again.
  bool removed() const noexcept;

 private:
  std::shared_ptr<const void> use_;  // goes after the descriptor
  guarded_fd descriptor_;
  off_t base_ = 0;
  const std::uint64_t* word_ = nullptr;  // null: a file, which knows itself
  std::uint64_t generation_ = 0;
};

// A segment that has a temporary name, or a final one.
struct segment {
  segment_locks locks;
  mapping memory;
  std::string name;
  // In a directory: its place, and which use of it.
  std::uint32_t object = 0;
  std::uint64_t generation = 0;
};

// What of it a segment is for decides where a sealed memory puts it.
enum class segment_content { words, lane_data };

class segment_store {
 public:
  virtual ~segment_store() = default;

  // Makes a segment under a temporary name that begins with `prefix`, with its lock (shm_lock_byte) held, zeroed,
  // allocated and mapped. Errors: no_space (value: bytes), no_permission, limit_reached (descriptors, RLIMIT_FSIZE),
  // busy, system.
  virtual result<segment> make(const std::string& prefix, std::size_t bytes, const shm_purpose& purpose,
                               segment_content what) = 0;
  result<segment> make(const std::string& prefix, std::size_t bytes, const shm_purpose& purpose) {
    return make(prefix, bytes, purpose, segment_content::words);
  }
  // Gives it its permissions and its final name. False: somebody else was first, and the temporary is gone.
  virtual result<bool> place(segment& made, const std::string& name, const shm_permissions& permissions) = 0;
  // Removes what is not going to be placed.
  virtual void discard(const segment& made) noexcept = 0;

  // Errors: not_found, no_permission, limit_reached (descriptors), system.
  virtual result<segment_locks> open_locks(const std::string& name, access how) = 0;
  result<segment_locks> open_locks(const std::string& name) { return open_locks(name, access::read_write); }
  // All of it; what is empty maps as nothing. Errors: also corrupt.
  virtual result<mapping> map(const std::string& name, access how) = 0;

  virtual void remove(const std::string& name) noexcept = 0;
  // Removes temporaries of that prefix whose makers are dead.
  virtual void remove_abandoned(const std::string& prefix) = 0;
  // Names of segments that begin with `prefix`; of those that come or go meanwhile, some. Errors: no_permission,
  // limit_reached (descriptors), system.
  virtual result<std::vector<std::string>> list(const std::string& prefix) = 0;
  // True if the data of a lane can be opened only as long as its publisher keeps it (sealed memory).
  virtual bool lanes_are_kept_by_publishers() const noexcept { return false; }
  // The segment, for people.
  virtual std::string path(const std::string& name) const = 0;
};

// The files of /dev/shm.
const std::shared_ptr<segment_store>& shm_store();

}  // namespace quoit::inline v1::detail
