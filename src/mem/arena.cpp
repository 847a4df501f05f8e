#include "mem/arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/segment_prefix.hpp"
#include "mem/arena_parts.hpp"
#include "mem/memfd.hpp"
#include "quoit/detail/atomic.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 page_bytes = 4096;
constexpr u64 memory_bytes_max = u64{1} << 40;
constexpr int attempts_max = 100;

// Written while the word says `making`, and read at any time: a reader looks at the word again afterwards.
struct name_words {
  explicit name_words(const std::string& name) noexcept {
    std::memcpy(words, name.data(), std::min(name.size(), object_name_bytes_max));
  }
  void write_to(directory_entry& e) const noexcept {
    for (std::size_t i = 0; i < object_name_words; ++i) store_relaxed(e.name[i], words[i]);  // relaxed: as above
  }
  bool are_of(const directory_entry& e) const noexcept {
    for (std::size_t i = 0; i < object_name_words; ++i) {
      if (load_relaxed(e.name[i]) != words[i]) return false;  // relaxed: as above
    }
    return true;
  }
  u64 words[object_name_words] = {};
};

std::string read_name(const directory_entry& e) {
  u64 words[object_name_words];
  for (std::size_t i = 0; i < object_name_words; ++i) words[i] = load_relaxed(e.name[i]);  // relaxed: as above
  char text[sizeof words];
  std::memcpy(text, words, sizeof words);
  return std::string(text, ::strnlen(text, sizeof text));
}

error damaged(const std::string& what) {
  return error(errc::corrupt, "the directory of the inherited memory: " + what);
}

}  // namespace

// ---- making and finding the memory ---------------------------------------------------------------------

result<std::shared_ptr<arena>> arena::create(u64 wanted, bool sealed) {
  if (wanted < memory_bytes_min || wanted > memory_bytes_max) {
    return tl::unexpected(error(errc::invalid_argument, "inherited memory of " + std::to_string(wanted) +
                                                            " bytes: it must be " + std::to_string(memory_bytes_min) +
                                                            " to " + std::to_string(memory_bytes_max)));
  }
  const u64 bytes = align_up(wanted, page_bytes);
  const u32 entries = objects_of(bytes);
  auto memory = make_memfd("quoit", bytes);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  const std::size_t directory_bytes = directory_end(entries);
  if (auto ok = allocate(memory->get(), 0, directory_bytes, "the directory of the inherited memory"); !ok) {
    return tl::unexpected(std::move(ok.error()));
  }
  auto directory = map_file(memory->get(), directory_bytes, access::read_write, "inherited memory");
  if (!directory) return tl::unexpected(std::move(directory.error()));
  memory_header& h = directory->object<memory_header>();
  h.prefix = prefix_of_now(memory_magic, memory_header_bytes, sizeof(directory_entry), entries, bytes);
  h.flags = sealed ? memory_sealed : 0;
  if (auto ok = seal(memory->get(), fixed_size); !ok) return tl::unexpected(std::move(ok.error()));
  return over(*memory, std::move(*directory), bytes, entries, sealed);
}

result<std::shared_ptr<arena>> arena::adopt(int descriptor) {
  const auto none = [descriptor](const std::string& why) {
    return tl::unexpected(
        error(errc::invalid_argument, "descriptor " + std::to_string(descriptor) + " is no inherited memory: " + why));
  };
  struct stat status{};
  if (::fstat(descriptor, &status) != 0) return none(std::strerror(errno));
  if (!has_seals(descriptor, fixed_size)) return none("it is no memfd whose size is sealed");
  const u64 bytes = static_cast<u64>(status.st_size);
  if (bytes < memory_bytes_min || bytes % page_bytes != 0) {
    return tl::unexpected(damaged("no inherited memory has " + std::to_string(bytes) + " bytes"));
  }
  segment_prefix prefix{};
  u64 flags = 0;
  {
    auto head = map_file(descriptor, memory_header_bytes, access::read, "inherited memory");
    if (!head) return tl::unexpected(std::move(head.error()));
    prefix = head->object<memory_header>().prefix;
    flags = head->object<memory_header>().flags;
  }
  if (prefix.magic != memory_magic) return tl::unexpected(damaged("wrong magic number"));
  // A flag that is not known is as a feature.
  prefix.required_features |= flags & ~memory_sealed;
  if (prefix.layout_major != layout_major || prefix.required_features != 0) {
    return tl::unexpected(another_version("inherited memory", prefix));
  }
  if (prefix.header_bytes != memory_header_bytes || prefix.entry_bytes != sizeof(directory_entry) ||
      prefix.segment_bytes != bytes || prefix.entry_count == 0 || prefix.entry_count > objects_limit ||
      directory_end(prefix.entry_count) >= bytes) {
    return tl::unexpected(damaged("it does not fit into its memory"));
  }
  auto directory = map_file(descriptor, directory_end(prefix.entry_count), access::read_write, "inherited memory");
  if (!directory) return tl::unexpected(std::move(directory.error()));
  // It stays the caller's unless everything succeeds, also where another number has to be used.
  const bool raised = descriptor <= STDERR_FILENO;
  fd memory = raised ? duplicate(descriptor) : fd(descriptor);
  if (!memory) {
    return tl::unexpected(error(errc::limit_reached,
                                "duplicating descriptor " + std::to_string(descriptor) +
                                    ": too many open files (ulimit -n, sysctl fs.file-max)",
                                0, errno));
  }
  auto made = over(memory, std::move(*directory), bytes, prefix.entry_count, (flags & memory_sealed) != 0);
  if (!made) {
    if (!raised) static_cast<void>(memory.release());
    return made;
  }
  if (raised) {
    ::close(descriptor);
  } else if (const int of_descriptor = ::fcntl(descriptor, F_GETFD); of_descriptor >= 0) {
    ::fcntl(descriptor, F_SETFD, of_descriptor | FD_CLOEXEC);
  }
  return made;
}

error cannot_describe(int why) {
  const bool limited = why == EMFILE || why == ENFILE;
  return error(limited                         ? errc::limit_reached
               : why == EACCES || why == EPERM ? errc::no_permission
                                               : errc::system,
               std::string("opening the inherited memory once more through /proc/self/fd") +
                   (limited         ? ": too many open files (ulimit -n, sysctl fs.file-max)"
                    : why == ENOENT ? ": a process that uses it needs /proc"
                                    : ""),
               0, why);
}

// ---- the directory -------------------------------------------------------------------------------------

u32 arena::entries_used() const noexcept {
  // sync(memory.used): the entries before this one may be in use
  return static_cast<u32>(std::min<u64>(load_acquire(header().entries_used), entries_));
}

bool arena::is_inside(u64 offset, u64 bytes) const noexcept {
  return offset % page_bytes == 0 && offset >= directory_end(entries_) && offset < bytes_ && bytes > 0 &&
         bytes <= bytes_ - offset;
}

result<arena::used> arena::find(const std::string& name) {
  const name_words wanted(name);
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    bool changed = false;
    const u32 count = entries_used();
    for (u32 i = 0; i < count; ++i) {
      const directory_entry& e = entry(i);
      // sync(memory.object): name and place are whole for whoever finds it placed
      const u64 word = load_acquire(e.word);
      if (state_of(word) != object_state::placed || !wanted.are_of(e)) continue;
      auto hold = use(i);
      if (!hold) return tl::unexpected(std::move(hold.error()));
      // sync(memory.object): still there, now that it cannot be freed (E1)
      if (*hold != nullptr && load_acquire(e.word) == word) return used{i, generation_of(word), std::move(*hold)};
      changed = true;
    }
    if (!changed) break;
  }
  return tl::unexpected(error(errc::not_found, name + " is not in the inherited memory"));
}

bool arena::is_placed(const used& object) const noexcept {
  // sync(memory.object): as in find()
  return load_acquire(entry(object.object).word) == object_word(object.generation, object_state::placed);
}

result<arena::place> arena::place_of(const used& object, const std::string& path) const {
  const directory_entry& e = entry(object.object);
  place p;
  p.offset = load_relaxed(e.offset);          // relaxed: ordered by find()
  p.bytes = load_relaxed(e.bytes);            // relaxed: as above
  p.inode = load_relaxed(e.inode);            // relaxed: as above
  p.device = load_relaxed(e.device);          // relaxed: as above
  p.pid = load_relaxed(e.pid);                // relaxed: as above
  p.descriptor = load_relaxed(e.descriptor);  // relaxed: as above
  if (p.offset == 0 ? !sealed_ || p.bytes == 0 : !is_inside(p.offset, p.bytes)) {
    return tl::unexpected(damaged(path + " does not lie in the memory"));
  }
  return p;
}

result<segment_locks> arena::lock_directory(std::chrono::nanoseconds timeout) const {
  auto description = describe_again(access::read_write);
  if (!description) return tl::unexpected(std::move(description.error()));
  segment_locks locks(std::move(*description));
  switch (locks.lock(shm_lock_byte, timeout)) {
    case lock_status::taken: return locks;
    case lock_status::held_by_other:
      return tl::unexpected(error(errc::busy,
                                  "the lock of the inherited memory was held for longer than lock_timeout: some "
                                  "process is stopped, or stands in a debugger, in the middle of making something"));
    default: return tl::unexpected(error(errc::system, "locking the inherited memory", 0, errno));
  }
}

std::vector<arena::extent> arena::taken() const {
  std::vector<extent> extents;
  const u32 count = entries_used();
  for (u32 i = 0; i < count; ++i) {
    const directory_entry& e = entry(i);
    // sync(memory.object): its memory is free, and zero, if it is
    if (state_of(load_acquire(e.word)) == object_state::free) continue;
    const u64 offset = load_relaxed(e.offset);  // relaxed: ordered by the word
    const u64 bytes = load_relaxed(e.bytes);    // relaxed: as above
    if (is_inside(offset, bytes)) extents.push_back({offset, align_up(offset + bytes, page_bytes)});
  }
  std::sort(extents.begin(), extents.end(), [](const extent& a, const extent& b) { return a.begin < b.begin; });
  return extents;
}

std::optional<u64> arena::room_for(u64 bytes) const {
  u64 at = directory_end(entries_);
  for (const extent& e : taken()) {
    if (e.begin > at && e.begin - at >= bytes) return at;
    at = std::max(at, e.end);
  }
  if (at < bytes_ && bytes_ - at >= bytes) return at;
  return std::nullopt;
}

u64 arena::free_bytes() {
  free_all_unused();
  u64 at = directory_end(entries_);
  u64 free = 0;
  for (const extent& e : taken()) {
    if (e.begin > at) free += e.begin - at;
    at = std::max(at, e.end);
  }
  return free + (at < bytes_ ? bytes_ - at : 0);
}

error arena::no_room(std::size_t bytes, const shm_purpose& purpose) const {
  u64 at = directory_end(entries_);
  u64 free = 0;
  u64 largest = 0;
  auto all = taken();
  all.push_back({bytes_, bytes_});
  for (const extent& e : all) {
    if (e.begin > at) {
      free += e.begin - at;
      largest = std::max(largest, e.begin - at);
    }
    at = std::max(at, e.end);
  }
  return error(errc::no_space,
               "allocating " + std::to_string(bytes) + " bytes for " + purpose.object + ": the inherited memory has " +
                   std::to_string(free) + " of " + std::to_string(bytes_) + " bytes free, the largest piece " +
                   std::to_string(largest) + "; make it larger (inherited_memory_options bytes)" +
                   (*purpose.option == '\0' ? std::string() : std::string(" or ask for less (") + purpose.option + ")"),
               bytes, ENOSPC);
}

// ---- objects -------------------------------------------------------------------------------------------

result<segment_locks> arena::locks_of(const used& object, access how) const {
  auto description = describe_again(how);
  if (!description) return tl::unexpected(std::move(description.error()));
  return segment_locks(std::move(*description), object.hold, static_cast<off_t>(object_locks(object.object)),
                       entry(object.object).word, object.generation);
}

result<arena::made> arena::make(std::size_t bytes, const std::optional<place>& elsewhere, const shm_purpose& purpose,
                                std::chrono::nanoseconds lock_timeout) {
  auto lock = lock_directory(lock_timeout);
  if (!lock) return tl::unexpected(std::move(lock.error()));
  free_all_unused();
  place where = elsewhere.value_or(place{});
  where.bytes = bytes;
  if (!elsewhere) {
    const u64 pages = align_up(bytes, page_bytes);
    auto at = room_for(pages);
    if (!at) {
      remove_abandoned();
      free_all_unused();
      at = room_for(pages);
    }
    if (!at) return tl::unexpected(no_room(bytes, purpose));
    where.offset = *at;
  }
  // Twice, if need be: what makers left that are dead may be all that is in the way.
  for (const bool again : {false, true}) {
    if (again) {
      remove_abandoned();
      free_all_unused();
    }
    for (u32 i = 0; i < entries_; ++i) {
      directory_entry& e = entry(i);
      // sync(memory.object): as in taken()
      const u64 before = load_acquire(e.word);
      if (state_of(before) != object_state::free) continue;
      auto hold = use(i);
      if (!hold) return tl::unexpected(std::move(hold.error()));
      // Somebody is at it for a moment: who freed it, or who looked for what was here.
      if (*hold == nullptr) continue;
      // Generations are 62 bits, and what is written there by others is no reason to fail.
      const u64 generation = (generation_of(before) + 1) & (~u64{0} >> 2);
      used object{i, generation, std::move(*hold)};
      auto locks = locks_of(object, access::read_write);
      if (!locks) return tl::unexpected(std::move(locks.error()));
      if (locks->try_lock(shm_lock_byte) != lock_status::taken) continue;
      store_relaxed(e.offset, where.offset);                                      // relaxed: ordered by the word
      store_relaxed(e.bytes, where.bytes);                                        // relaxed: as above
      store_relaxed(e.inode, where.inode);                                        // relaxed: as above
      store_relaxed(e.device, where.device);                                      // relaxed: as above
      store_relaxed(e.pid, where.pid);                                            // relaxed: as above
      store_relaxed(e.descriptor, where.descriptor);                              // relaxed: as above
      if (i >= entries_used()) store_release(header().entries_used, u64{i} + 1);  // sync(memory.used): before the word
      // sync(memory.object): its extent is taken for whoever allocates next, and its maker holds the lock (E4)
      store_release(e.word, object_word(generation, object_state::making));
      return made{std::move(object), std::move(*locks), where};
    }
  }
  return tl::unexpected(error(errc::no_space,
                              "the directory of the inherited memory is full: it has " + std::to_string(entries_) +
                                  " entries; make it larger (inherited_memory_options bytes)",
                              bytes, ENOSPC));
}

result<bool> arena::give_name(u32 object, u64 generation, const std::string& name,
                              std::chrono::nanoseconds lock_timeout) {
  if (name.size() > object_name_bytes_max) {
    return tl::unexpected(error(errc::invalid_name, name + " is too long for the inherited memory"));
  }
  auto lock = lock_directory(lock_timeout);
  if (!lock) return tl::unexpected(std::move(lock.error()));
  const name_words words(name);
  const u32 count = entries_used();
  for (u32 i = 0; i < count; ++i) {
    // sync(memory.object): as in find(); nothing becomes placed while the lock is held
    if (state_of(load_acquire(entry(i).word)) == object_state::placed && words.are_of(entry(i))) return false;
  }
  directory_entry& e = entry(object);
  const u64 making = object_word(generation, object_state::making);
  // sync(memory.object): its maker holds its lock, so nobody took it for rubbish
  if (load_acquire(e.word) != making) return tl::unexpected(damaged("what was being made is gone"));
  words.write_to(e);
  // sync(memory.object): name, place and content are whole for whoever finds it placed
  store_release(e.word, object_word(generation, object_state::placed));
  return true;
}

// The object is used by the caller, so its generation is this one's.
void arena::remove(u32 object, u64 generation) noexcept {
  directory_entry& e = entry(object);
  // sync(memory.object): as in find()
  const u64 word = load_acquire(e.word);
  if (generation_of(word) != generation || state_of(word) == object_state::free) return;
  // sync(memory.object): removed, for whoever looks again; whoever uses it last frees it
  store_release(e.word, object_word(generation, object_state::removed));
}

void arena::remove(const std::string& name) noexcept try {
  if (auto found = find(name)) remove(found->object, found->generation);
} catch (const std::bad_alloc&) {
  // It stays until the last one on the bus removes everything.
}

void arena::remove_abandoned() noexcept try {
  const u32 count = entries_used();
  for (u32 i = 0; i < count; ++i) {
    const directory_entry& e = entry(i);
    // sync(memory.object): as in find()
    const u64 word = load_acquire(e.word);
    if (state_of(word) != object_state::making) continue;
    auto hold = use(i);
    // sync(memory.object): as in find()
    if (!hold || *hold == nullptr || load_acquire(e.word) != word) continue;
    const used object{i, generation_of(word), std::move(*hold)};
    auto locks = locks_of(object, access::read_write);
    if (!locks || locks->try_lock(shm_lock_byte) != lock_status::taken) continue;
    // Its maker let go of it: it died, unless it has given it its name since.
    if (load_acquire(e.word) == word) remove(i, object.generation);  // sync(memory.object): as above
  }
} catch (const std::bad_alloc&) {
  // Left to the next one.
}

std::vector<std::string> arena::list(const std::string& prefix) const {
  std::vector<std::string> names;
  const u32 count = entries_used();
  for (u32 i = 0; i < count; ++i) {
    const directory_entry& e = entry(i);
    // sync(memory.object): as in find()
    const u64 word = load_acquire(e.word);
    if (state_of(word) != object_state::placed) continue;
    std::string name = read_name(e);
    std::atomic_thread_fence(std::memory_order_acquire);  // sync(memory.object): the name was read before the word
    // sync(memory.object): the name was this object's
    if (name.starts_with(prefix) && load_acquire(e.word) == word) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace quoit::inline v1::detail
