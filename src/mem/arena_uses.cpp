// What a process uses of the memories that it has, and what a forked child goes on to use.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <mutex>
#include <utility>

#include <pthread.h>

#include "base/file_lock.hpp"
#include "mem/arena.hpp"
#include "mem/arena_parts.hpp"
#include "quoit/detail/atomic.hpp"

namespace quoit::inline v1::detail {

// One lock for all arenas of the process, which fork() waits for: a child finds their counts whole.
struct arenas_of_process {
  std::mutex mutex;
  std::vector<arena*> arenas;

  static arenas_of_process& all() {
    // Never destroyed: a bus of a static object may be closed after every destructor of ours ran.
    static auto* const instance = [] {
      auto* const made = new arenas_of_process;
      // First the handlers of guarded descriptors: theirs is the inner lock.
      notice_forks();
      ::pthread_atfork([] { all().mutex.lock(); },
                       [] {
                         for (arena* const a : all().arenas) a->leave_to_child();
                         all().mutex.unlock();
                       },
                       [] {
                         for (arena* const a : all().arenas) a->take_again();
                         all().mutex.unlock();
                       });
      return made;
    }();
    return *instance;
  }
};

namespace {

// When the library is loaded: a child of a fork in the middle of the first use would wait for its end for ever.
[[maybe_unused]] const auto& set_when_loaded = arenas_of_process::all();

}  // namespace

struct arena_use {
  arena_use(std::shared_ptr<arena> m, u32 i) noexcept : memory(std::move(m)), object(i), epoch(fork_epoch) {}
  arena_use(const arena_use&) = delete;
  arena_use& operator=(const arena_use&) = delete;
  ~arena_use() { memory->drop(object, epoch); }

  std::shared_ptr<arena> memory;
  u32 object;
  u32 epoch;
};

namespace {

off_t use_byte(u32 object) noexcept { return static_cast<off_t>(object_locks(object) + use_lock_byte); }

}  // namespace

result<std::shared_ptr<arena>> arena::over(fd& memory, mapping directory, u64 bytes, u32 entries, bool sealed) {
  std::shared_ptr<arena> made(new arena(std::move(directory), bytes, entries, sealed));
  arenas_of_process& all = arenas_of_process::all();
  // No child of another thread gets a copy of the description that we do not know of.
  const std::lock_guard hold(all.mutex);
  if (!describe(memory.get(), made->uses_)) return tl::unexpected(cannot_describe(errno));
  all.arenas.push_back(made.get());
  made->memory_ = std::move(memory);
  made->memory_.stay_open_in_children();
  return made;
}

arena::arena(mapping directory, u64 bytes, u32 entries, bool sealed)
    : directory_(std::move(directory)),
      bytes_(bytes),
      entries_(entries),
      sealed_(sealed),
      counts_(entries, 0),
      inherited_counts_(entries, 0) {}

arena::~arena() {
  arenas_of_process& all = arenas_of_process::all();
  const std::lock_guard hold(all.mutex);
  std::erase(all.arenas, this);
}

result<guarded_fd> arena::describe_again(access how) const {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", memory_.get());
  int why = 0;
  guarded_fd description = guarded_fd::opened_by([&] {
    fd opened = open_file(path, how == access::read ? O_RDONLY : O_RDWR);
    if (!opened) why = errno;
    return opened;
  });
  if (!description) return tl::unexpected(cannot_describe(why));
  return description;
}

bool arena::describe(int memory, fd& description) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", memory);
  description = open_file(path, O_RDWR);
  description.stay_open_in_children();
  return static_cast<bool>(description);
}

// Another description that holds what `counts` says. The one before is closed, and not unlocked: a child has it.
bool arena::hold_anew(fd& uses, const std::vector<u32>& counts) noexcept {
  fd fresh;
  if (!describe(memory_.get(), fresh)) return false;
  for (u32 i = 0; i < entries_; ++i) {
    // Without it somebody could free what is mapped here: then the one before is kept.
    if (counts[i] > 0 && try_lock_shared(fresh.get(), use_byte(i)) != lock_status::taken) return false;
  }
  uses = std::move(fresh);
  return true;
}

// In the parent, before fork() returns. The child has the descriptions that held until now, and may not have come as
// far as to take some of its own when the parent unmaps something.
void arena::leave_to_child() noexcept {
  const bool own = !uses_ || hold_anew(uses_, counts_);
  const bool inherited = !inherited_uses_ || hold_anew(inherited_uses_, inherited_counts_);
  shared_with_child_ = !own || !inherited;
}

// In a child, before fork() returns: opens, closes and locks only, which are allowed there.
void arena::take_again() noexcept {
  for (u32 i = 0; i < entries_; ++i) inherited_counts_[i] += std::exchange(counts_[i], 0);
  fd all;
  if (!hold_anew(all, inherited_counts_)) {
    // For want of descriptors. What the parent has left to us stays held, then, until this process ends.
    static_cast<void>(uses_.release());
    static_cast<void>(inherited_uses_.release());
  }
  inherited_uses_ = std::move(all);
  uses_.reset();
  shared_with_child_ = false;
}

// Nothing: somebody is freeing it, so it is no object any more.
result<std::shared_ptr<const void>> arena::use(u32 object) {
  arenas_of_process& all = arenas_of_process::all();
  const std::lock_guard hold(all.mutex);
  if (!uses_ && !describe(memory_.get(), uses_)) return tl::unexpected(cannot_describe(errno));
  if (counts_[object] == 0) {
    switch (try_lock_shared(uses_.get(), use_byte(object))) {
      case lock_status::taken: break;
      case lock_status::held_by_other: return std::shared_ptr<const void>();
      case lock_status::failed:
        return tl::unexpected(error(errc::system, "locking an object of the inherited memory", 0, errno));
    }
  }
  // Counted by hand only once there is somebody who counts down.
  auto used = std::make_shared<arena_use>(shared_from_this(), object);
  ++counts_[object];
  return std::shared_ptr<const void>(std::move(used));
}

void arena::drop(u32 object, u32 epoch) noexcept {
  arenas_of_process& all = arenas_of_process::all();
  const std::lock_guard hold(all.mutex);
  const bool own = epoch == fork_epoch;
  // There were no descriptors when the child was forked: it still needs what is held through ours.
  if (shared_with_child_) leave_to_child();
  if (--(own ? counts_ : inherited_counts_)[object] > 0) return;
  if (shared_with_child_) return;
  unlock((own ? uses_ : inherited_uses_).get(), use_byte(object));
  free_if_unused(object);
}

// With the lock of the process held, so that no fork() sees a byte held for writing.
void arena::free_if_unused(u32 object) noexcept {
  directory_entry& e = entry(object);
  // sync(memory.object): what is removed stays so until its memory is free
  const u64 word = load_acquire(e.word);
  if (state_of(word) != object_state::removed) return;
  if (!freeing_) {
    auto description = describe_again(access::read_write);
    if (!description) return;  // whoever makes something next tries again
    freeing_ = std::move(*description);
  }
  const off_t byte = use_byte(object);
  if (try_lock(freeing_.get(), byte) != lock_status::taken) return;
  // Somebody else may have freed it since, and a third one made something there: asked again, now that nobody can.
  if (load_acquire(e.word) == word) {           // sync(memory.object): as above
    const u64 offset = load_relaxed(e.offset);  // relaxed: ordered by the word
    const u64 bytes = load_relaxed(e.bytes);    // relaxed: as above
    if (is_inside(offset, bytes)) {
      ::fallocate(memory_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(align_up(bytes, 4096)));
    }
    // sync(memory.object): its memory is zero for whoever takes it
    store_release(e.word, object_word(generation_of(word), object_state::free));
  }
  unlock(freeing_.get(), byte);
}

void arena::free_all_unused() noexcept {
  arenas_of_process& all = arenas_of_process::all();
  const std::lock_guard hold(all.mutex);
  const u32 used = entries_used();
  for (u32 i = 0; i < used; ++i) free_if_unused(i);
}

}  // namespace quoit::inline v1::detail
