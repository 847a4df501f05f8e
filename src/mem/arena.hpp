// Memory that related processes inherit, and the objects in it. The layout, the states of an object and its locks are
// in quoit/detail/memory_layout.hpp.
//
// E1. An object is looked for without a lock: find its name, take its use byte for reading, look at its word again. If
//     the word is the same, the object is there, and stays for as long as the byte is held.
// E2. Memory is freed by whoever holds the use byte for writing, and only of an object that is removed. A removed
// object
//     is never placed again, so whoever comes later finds that out in E1.
// E3. The use bytes of a process are held through one description. A forked child has inherited what is mapped, and
//     that description with it; before fork() returns, the parent takes the same bytes through another one, and so does
//     the child. So there is no moment in which what the child has mapped could be freed: what it reads there stays
//     what it was, and what it writes there is nobody else's.
// E4. A maker holds the lock of its object from before the word says `making` until it is placed: what is `making`
//     and not locked is rubbish.
// E5. What the directory says is input: offsets and sizes are checked before they are used, and its own size is that
//     of the memory, which nobody can change (seals).
//
// Thread safety: any thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/fork_guard.hpp"
#include "mem/segment_store.hpp"
#include "quoit/detail/memory_layout.hpp"

namespace quoit::inline v1::detail {

class arena : public std::enable_shared_from_this<arena> {
 public:
  // Errors: invalid_argument (bytes), no_space (value: bytes), limit_reached (descriptors,
  // RLIMIT_FSIZE), system (no /proc).
  static result<std::shared_ptr<arena>> create(u64 bytes, bool sealed);
  // Takes over the descriptor, if it succeeds. Errors: invalid_argument, newer_version, corrupt, limit_reached, system.
  static result<std::shared_ptr<arena>> adopt(int descriptor);
  ~arena();
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;

  int descriptor() const noexcept { return memory_.get(); }
  u64 bytes() const noexcept { return bytes_; }
  bool sealed() const noexcept { return sealed_; }

  // An object that is used: it stays where it is until this goes.
  struct used {
    u32 object = 0;
    u64 generation = 0;
    std::shared_ptr<const void> hold;
  };

  // An object by its name. Errors: not_found, limit_reached (descriptors).
  result<used> find(const std::string& name);
  bool is_placed(const used& object) const noexcept;
  // What the directory says of an object that is used, checked. Errors: corrupt.
  struct place {
    u64 offset = 0;  // 0: elsewhere
    u64 bytes = 0;
    u64 inode = 0;
    u64 device = 0;
    u32 pid = 0;
    u32 descriptor = 0;
  };
  result<place> place_of(const used& object, const std::string& path) const;

  // A new object, `making`, with its lock held by `locks`. `where.offset` is chosen unless the object is elsewhere.
  struct made {
    used object;
    segment_locks locks;
    place where;
  };
  // Errors: no_space, limit_reached (descriptors), busy, corrupt, system.
  result<made> make(std::size_t bytes, const std::optional<place>& elsewhere, const shm_purpose& purpose,
                    std::chrono::nanoseconds lock_timeout);
  // Errors: busy, system. False: the name is taken.
  result<bool> give_name(u32 object, u64 generation, const std::string& name, std::chrono::nanoseconds lock_timeout);

  void remove(u32 object, u64 generation) noexcept;
  void remove(const std::string& name) noexcept;
  void remove_abandoned() noexcept;
  std::vector<std::string> list(const std::string& prefix) const;

  // Locks of an object, through a description of their own. Errors: limit_reached (descriptors), system.
  result<segment_locks> locks_of(const used& object, access how) const;

  // Of what is not used by any object; what is removed and still used counts as used.
  u64 free_bytes();

 private:
  struct extent {
    u64 begin;
    u64 end;
  };
  arena(mapping directory, u64 bytes, u32 entries, bool sealed);
  // Takes `memory` if it succeeds.
  static result<std::shared_ptr<arena>> over(fd& memory, mapping directory, u64 bytes, u32 entries, bool sealed);

  memory_header& header() const noexcept { return directory_.object<memory_header>(); }
  directory_entry& entry(u32 i) const noexcept {
    return directory_.object<directory_entry>(memory_header_bytes + sizeof(directory_entry) * i);
  }
  u32 entries_used() const noexcept;
  bool is_inside(u64 offset, u64 bytes) const noexcept;
  std::vector<extent> taken() const;
  std::optional<u64> room_for(u64 bytes) const;
  error no_room(std::size_t bytes, const shm_purpose& purpose) const;

  result<guarded_fd> describe_again(access how) const;
  result<segment_locks> lock_directory(std::chrono::nanoseconds timeout) const;
  result<std::shared_ptr<const void>> use(u32 object);
  void drop(u32 object, u32 epoch) noexcept;
  bool hold_anew(fd& uses, const std::vector<u32>& counts) noexcept;
  void leave_to_child() noexcept;
  void take_again() noexcept;
  static bool describe(int memory, fd& description) noexcept;
  void free_if_unused(u32 object) noexcept;
  void free_all_unused() noexcept;
  friend struct arena_use;
  friend struct arenas_of_process;

  fd memory_;
  mapping directory_;
  u64 bytes_ = 0;
  u32 entries_ = 0;
  bool sealed_ = false;
  // Under the lock of all arenas of the process.
  fd uses_;                  // holds the use bytes of this process
  std::vector<u32> counts_;  // of uses, by object
  fd inherited_uses_;        // the same of what was used when this process was forked
  std::vector<u32> inherited_counts_;
  bool shared_with_child_ = false;  // both: nothing may be unlocked
  guarded_fd freeing_;              // holds use bytes for writing, for a moment
};

// The objects of an arena as segments.
std::shared_ptr<segment_store> arena_store(std::shared_ptr<arena> memory, std::chrono::nanoseconds lock_timeout);

// The only bus of a memory.
inline constexpr const char* memory_bus_name = "inherited";

}  // namespace quoit::inline v1::detail
