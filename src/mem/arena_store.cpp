// Objects of an arena as segments. Where the memory is sealed, the data of a lane is a memfd of its publisher's, and
// the directory says where that is found.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "mem/arena.hpp"
#include "mem/memfd.hpp"

namespace quoit::inline v1::detail {

namespace {

// What a mapping keeps: its object, and of a memfd of our own the descriptor, by which others find it.
struct mapped_object {
  mapped_object(std::shared_ptr<const void> u, fd m) noexcept : use(std::move(u)), memory(std::move(m)) {}
  std::shared_ptr<const void> use;
  fd memory;
};

// Opens descriptor `number` of `process`, if it is that memory, for reading. Not in one step: what else it may be by
// now could block, or do something, when it is opened.
fd open_of(const std::string& process, const arena::place& where, int& why) {
  const fd looked = open_file("/proc/" + process + "/fd/" + std::to_string(where.descriptor), O_PATH);
  if (!looked) {
    why = errno;
    return {};
  }
  struct stat status{};
  if (::fstat(looked.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_ino != where.inode ||
      status.st_dev != where.device || static_cast<u64>(status.st_size) < where.bytes) {
    why = ESTALE;
    return {};
  }
  fd opened = open_file("/proc/self/fd/" + std::to_string(looked.get()), O_RDONLY);
  if (!opened) {
    why = errno;
  } else if (!has_seals(opened.get(), fixed_size_and_content)) {
    why = ESTALE;
    opened.reset();
  }
  return opened;
}

class arena_segments final : public segment_store {
 public:
  arena_segments(std::shared_ptr<arena> memory, std::chrono::nanoseconds lock_timeout) noexcept
      : memory_(std::move(memory)), lock_timeout_(lock_timeout) {}

  result<segment> make(const std::string& prefix, std::size_t bytes, const shm_purpose& purpose,
                       segment_content what) override {
    if (what == segment_content::lane_data && memory_->sealed()) return make_sealed(prefix, bytes, purpose);
    auto made = memory_->make(bytes, std::nullopt, purpose, lock_timeout_);
    if (!made) return tl::unexpected(std::move(made.error()));
    auto memory = fill(*made, bytes, purpose);
    if (!memory) {
      memory_->remove(made->object.object, made->object.generation);
      return tl::unexpected(std::move(memory.error()));
    }
    return as_segment(prefix, std::move(*made), std::move(*memory));
  }

  result<bool> place(segment& made, const std::string& name, const shm_permissions& /*permissions*/) override {
    auto placed = memory_->give_name(made.object, made.generation, name, lock_timeout_);
    if (!placed || !*placed) {
      discard(made);
      return placed;
    }
    made.name = name;
    return true;
  }

  void discard(const segment& made) noexcept override { memory_->remove(made.object, made.generation); }

  result<segment_locks> open_locks(const std::string& name, access how) override {
    auto found = memory_->find(name);
    if (!found) return tl::unexpected(std::move(found.error()));
    return memory_->locks_of(*found, how);
  }

  result<mapping> map(const std::string& name, access how) override {
    auto found = memory_->find(name);
    if (!found) return tl::unexpected(std::move(found.error()));
    auto where = memory_->place_of(*found, path(name));
    if (!where) return tl::unexpected(std::move(where.error()));
    if (where->offset == 0) return map_sealed(name, *found, *where, how);
    auto memory = map_file(memory_->descriptor(), where->bytes, how, name.c_str(), static_cast<off_t>(where->offset));
    if (memory) memory->hold(std::move(found->hold));
    return memory;
  }

  void remove(const std::string& name) noexcept override { memory_->remove(name); }
  void remove_abandoned(const std::string& /*prefix*/) override { memory_->remove_abandoned(); }
  result<std::vector<std::string>> list(const std::string& prefix) override { return memory_->list(prefix); }
  bool lanes_are_kept_by_publishers() const noexcept override { return memory_->sealed(); }
  std::string path(const std::string& name) const override { return name + " of the inherited memory"; }

 private:
  static segment as_segment(const std::string& prefix, arena::made made, mapping memory) {
    return segment{std::move(made.locks), std::move(memory), prefix + std::to_string(made.object.object),
                   made.object.object, made.object.generation};
  }

  result<mapping> fill(const arena::made& made, std::size_t bytes, const shm_purpose& purpose) {
    const u64 offset = made.where.offset;
    if (auto ok = allocate(memory_->descriptor(), offset, bytes, purpose.object); !ok) {
      return tl::unexpected(std::move(ok.error()));
    }
    auto memory =
        map_file(memory_->descriptor(), bytes, access::read_write, purpose.object.c_str(), static_cast<off_t>(offset));
    if (!memory) return memory;
    populate(*memory);
    memory->hold(made.object.hold);
    return memory;
  }

  // Writable through the one mapping that is made here, and only there: not in a forked child either.
  result<segment> make_sealed(const std::string& prefix, std::size_t bytes, const shm_purpose& purpose) {
    auto data = make_memfd("quoit-lane", bytes);
    if (!data) return tl::unexpected(std::move(data.error()));
    data->stay_open_in_children();  // which are subscribers, and look there first
    if (auto ok = allocate(data->get(), 0, bytes, purpose.object); !ok) return tl::unexpected(std::move(ok.error()));
    auto memory = map_for_this_process(data->get(), bytes, purpose.object);
    if (!memory) return tl::unexpected(std::move(memory.error()));
    populate(*memory);
    if (auto ok = seal(data->get(), fixed_size_and_content); !ok) return tl::unexpected(std::move(ok.error()));
    struct stat status{};
    if (::fstat(data->get(), &status) != 0) return tl::unexpected(error(errc::system, "fstat of a memfd", 0, errno));
    arena::place where;
    where.inode = status.st_ino;
    where.device = status.st_dev;
    where.pid = static_cast<u32>(::getpid());
    where.descriptor = static_cast<u32>(data->get());
    auto made = memory_->make(bytes, where, purpose, lock_timeout_);
    if (!made) return tl::unexpected(std::move(made.error()));
    memory->hold(std::make_shared<const mapped_object>(made->object.hold, std::move(*data)));
    return as_segment(prefix, std::move(*made), std::move(*memory));
  }

  // No child of another thread comes between the two calls.
  static result<mapping> map_for_this_process(int memory, std::size_t bytes, const std::string& what) {
    const guarded_fd::fork_pause pause;
    auto mapped = map_file(memory, bytes, access::read_write, what.c_str());
    if (!mapped) return mapped;
    if (::madvise(mapped->data(), bytes, MADV_DONTFORK) != 0) {
      return tl::unexpected(error(errc::system, "MADV_DONTFORK of a sealed lane", 0, errno));
    }
    mapped->stay_behind_in_parent();
    return mapped;
  }

  result<mapping> map_sealed(const std::string& name, const arena::used& object, const arena::place& where,
                             access how) const {
    if (how == access::read_write) {
      return tl::unexpected(error(errc::no_permission, path(name) + " is sealed: only its publisher writes there"));
    }
    // A child has inherited the descriptor, and so has a publisher's own process.
    int why = 0;
    fd data = open_of("self", where, why);
    if (!data) data = open_of(std::to_string(where.pid), where, why);
    if (!data) {
      if (!memory_->is_placed(object)) return tl::unexpected(error(errc::not_found, path(name) + " was removed"));
      const bool limited = why == EMFILE || why == ENFILE;
      return tl::unexpected(error(
          limited ? errc::limit_reached : errc::no_permission,
          path(name) + " is sealed, and descriptor " + std::to_string(where.descriptor) +
              " of its publisher, process " + std::to_string(where.pid) +
              (limited
                   ? ", could not be opened: too many open files (ulimit -n, sysctl fs.file-max)"
                   : ", cannot be opened through /proc: it died, runs as another user, or in another pid namespace"),
          0, why));
    }
    auto memory = map_file(data.get(), where.bytes, access::read, name.c_str());
    if (memory) memory->hold(object.hold);
    return memory;
  }

  std::shared_ptr<arena> memory_;
  std::chrono::nanoseconds lock_timeout_;
};

}  // namespace

std::shared_ptr<segment_store> arena_store(std::shared_ptr<arena> memory, std::chrono::nanoseconds lock_timeout) {
  return std::make_shared<arena_segments>(std::move(memory), lock_timeout);
}

}  // namespace quoit::inline v1::detail
