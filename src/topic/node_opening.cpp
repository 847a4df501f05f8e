// How a node comes on its bus.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/clock.hpp"
#include "base/dying.hpp"
#include "base/file_lock.hpp"
#include "base/random.hpp"
#include "base/segment_prefix.hpp"
#include "topic/names.hpp"
#include "topic/node.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr int open_attempts_max = 100;

constexpr std::chrono::nanoseconds year = std::chrono::hours(24 * 365);

result<void> check_options(const bus_options& options) {
  const auto refuse = [](const std::string& words) { return tl::unexpected(error(errc::invalid_argument, words)); };
  if (options.nodes_max == 0 || options.nodes_max > nodes_limit) {
    return refuse("nodes_max is " + std::to_string(options.nodes_max) + ": it must be 1 to " +
                  std::to_string(nodes_limit));
  }
  if (options.permissions > 0777) {
    char octal[16];
    std::snprintf(octal, sizeof octal, "0%o", options.permissions);
    return refuse("permissions is " + std::string(octal) + ": it must be at most 0777");
  }
  constexpr std::size_t name_bytes_max = sizeof(node_entry::name) - 1;
  if (options.node_name.size() > name_bytes_max) {
    return refuse("node_name has " + std::to_string(options.node_name.size()) + " bytes: at most " +
                  std::to_string(name_bytes_max));
  }
  const std::pair<const char*, std::chrono::nanoseconds> times[] = {
      {"spin_max", options.spin_max}, {"recheck", options.recheck}, {"lock_timeout", options.lock_timeout}};
  for (const auto& [option, time] : times) {
    if (time.count() < 0) {
      return refuse(std::string(option) + " is " + std::to_string(time.count()) + " ns: it must not be negative");
    }
  }
  return {};
}

std::string remove_bus(const std::string& bus) {
  return ": stop the processes of the bus, then `quoit clean --bus " + bus + "` removes what is left";
}

error busy_bus(const std::string& path) {
  return error(errc::busy, "the lock of " + path +
                               " was held for longer than lock_timeout: some process on the bus is stopped, or "
                               "stands in a debugger, in the middle of opening or closing");
}

}  // namespace

result<std::shared_ptr<node>> node::open(std::string_view bus, const bus_options& options) {
  return open_in(shm_store(), bus, options, {});
}

result<std::shared_ptr<node>> node::open_in(std::shared_ptr<segment_store> store, std::string_view bus,
                                            const bus_options& options, std::string why) {
  if (auto ok = check_bus_name(bus); !ok) return tl::unexpected(std::move(ok.error()));
  if (auto ok = check_options(options); !ok) return tl::unexpected(std::move(ok.error()));
  std::shared_ptr<node> made(new node);
  made->set_up(bus, options);
  made->store_ = std::move(store);
  made->why_transport_ = std::move(why);
  const lock_wait_limit limit(made->settings_.lock_timeout);
  for (int attempt = 0; attempt < open_attempts_max; ++attempt) {
    auto entered = made->try_open(options);
    if (!entered) {
      made->life_.reset();
      return tl::unexpected(std::move(entered.error()));
    }
    if (*entered) {
      made->tidy_temporaries();
      made->clean_all_dead();
      return made;
    }
  }
  return tl::unexpected(busy_bus(made->store_->path(made->file_name_)));
}

result<std::shared_ptr<node>> node::open_private(std::string_view bus, const bus_options& options, std::string why) {
  if (auto ok = check_bus_name(bus); !ok) return tl::unexpected(std::move(ok.error()));
  if (auto ok = check_options(options); !ok) return tl::unexpected(std::move(ok.error()));
  auto memory = map_private(bus_bytes(1));
  if (!memory) return tl::unexpected(std::move(memory.error()));
  std::shared_ptr<node> made(new node);
  made->set_up(bus, options);
  made->memory_ = std::move(*memory);
  made->nodes_ = 1;
  made->on_kernel_ = true;
  made->why_transport_ = std::move(why);
  made->write_own_entry(0, options);
  return made;
}

void node::set_up(std::string_view bus, const bus_options& options) {
  bus_ = bus;
  file_name_ = bus_file(bus);
  store_ = shm_store();
  epoch_ = fork_epoch;
  // Rechecks allocate nothing, unless there are more publishers' nodes than this.
  probed_.reserve(64);
  settings_ = {{options.permissions, options.group},
               options.wait,
               std::min<std::chrono::nanoseconds>(options.spin_max, year),
               std::clamp<std::chrono::nanoseconds>(options.recheck, std::chrono::milliseconds(1), year),
               std::min<std::chrono::nanoseconds>(options.lock_timeout, year)};
}

void node::write_own_entry(u32 index, const bus_options& options) {
  index_ = index;
  node_entry& e = entry(index);
  const auto random = random_id();
  generation_ = (random[0] << 16) | ((e.generation + 1) & 0xffff);
  e.generation = generation_;
  e.id[0] = random[0];
  e.id[1] = random[1];
  e.started_ns = realtime_ns();
  e.pid = static_cast<u32>(::getpid());
  e.pid_namespace = pid_namespace();
  e.uid = static_cast<u32>(::geteuid());
  e.sleeps = e.late = e.vain = e.rung = 0;
  e.bell_inode = e.bell_descriptor = 0;
  std::memset(e.name, 0, sizeof e.name);
  const std::string_view called = !options.node_name.empty() ? options.node_name : ::program_invocation_short_name;
  called.copy(e.name, sizeof e.name - 1);
  store_relaxed(e.bell.sleeping, 0);                 // relaxed: nobody names this node yet
  for (u64& bits : e.ready) store_relaxed(bits, 0);  // relaxed: as above
  // sync(node.record): the record is whole for whoever finds it in use
  store_release(e.state, entry_in_use);
}

// False: the segment went away under us, or somebody else was first; again from the name.
result<bool> node::try_open(const bus_options& options) {
  auto file = store_->open_locks(file_name_);
  if (!file) {
    if (file.error().code() != errc::not_found) return tl::unexpected(std::move(file.error()));
    return create(options);
  }
  probe_ = std::move(*file);
  switch (probe_.lock(shm_lock_byte, settings_.lock_timeout)) {
    case lock_status::taken: break;
    case lock_status::held_by_other: return tl::unexpected(busy_bus(store_->path(file_name_)));
    case lock_status::failed: return tl::unexpected(error(errc::system, "locking " + file_name_, 0, errno));
  }
  if (probe_.removed()) {
    probe_.reset();
    return false;
  }
  auto memory = store_->map(file_name_, access::read_write);
  if (!memory) return tl::unexpected(std::move(memory.error()));
  if (const u64 bytes = memory->bytes(); bytes < bus_bytes(1)) {
    return tl::unexpected(error(errc::corrupt, store_->path(file_name_) + " has " + std::to_string(bytes) +
                                                   " bytes, a bus at least " + std::to_string(bus_bytes(1)) +
                                                   remove_bus(bus_)));
  }
  memory_ = std::move(*memory);
  if (auto ok = check_header(); !ok) return tl::unexpected(std::move(ok.error()));
  if (auto ok = enter_instance(probe_); !ok) return tl::unexpected(std::move(ok.error()));
  // Asked again: whoever removed the name before that may have seen nobody on this instance (I3).
  if (probe_.removed()) {
    instance_.reset();
    probe_.reset();
    return false;
  }
  return enter(options);
}

result<void> node::enter_instance(const segment_locks& file) {
  if (!has_names()) return {};
  auto lock = instance_lock::on(bus_, file.fd());
  if (!lock) return tl::unexpected(std::move(lock.error()));
  instance_ = std::move(*lock);
  return {};
}

result<bool> node::create(const bus_options& options) {
  auto made = store_->make(bus_temporary_prefix(bus_), bus_bytes(options.nodes_max),
                           {"the nodes of bus " + bus_, "bus_options nodes_max"});
  if (!made) return tl::unexpected(std::move(made.error()));
  bus_header& header = made->memory.object<bus_header>();
  header.prefix =
      prefix_of_now(bus_magic, bus_header_bytes, sizeof(node_entry), options.nodes_max, made->memory.bytes());
  if (has_names()) header.prefix.required_features = bus_has_instance_locks;
  bus_.copy(header.name, sizeof header.name - 1);
  // Before it has its name, which somebody could remove at once (I1).
  if (auto ok = enter_instance(made->locks); !ok) {
    store_->discard(*made);
    return tl::unexpected(std::move(ok.error()));
  }
  auto placed = store_->place(*made, file_name_, settings_.permissions);
  if (!placed || !*placed) {
    instance_.reset();
    // Whoever tidies up may take a temporary for abandoned once; then it is made again.
    if (!placed && placed.error().code() != errc::not_found) return tl::unexpected(std::move(placed.error()));
    return false;
  }
  probe_ = std::move(made->locks);  // with the lock
  memory_ = std::move(made->memory);
  nodes_ = options.nodes_max;
  auto entered = enter(options);
  if (!entered) {
    // Nobody else is on it: the lock was ours before it had its name.
    instance_.reset();
    store_->remove(file_name_);
  }
  return entered;
}

result<void> node::check_header() {
  const std::string path = store_->path(file_name_);
  const segment_prefix prefix = memory_.object<bus_header>().prefix;
  if (prefix.magic != bus_magic) {
    return tl::unexpected(error(errc::corrupt, path + " is no bus (wrong magic number)" + remove_bus(bus_)));
  }
  const u64 features = has_names() ? bus_has_instance_locks : 0;
  if (prefix.layout_major != layout_major || (prefix.required_features & ~features) != 0) {
    return tl::unexpected(another_version(path, prefix, features));
  }
  if (prefix.required_features != features) {
    return tl::unexpected(
        error(errc::newer_version, path + " was made by a version of quoit whose processes hold no lock on " +
                                       shm_directory + ": use one version of quoit on a bus"));
  }
  if (prefix.header_bytes != bus_header_bytes || prefix.entry_bytes != sizeof(node_entry) || prefix.entry_count == 0 ||
      prefix.entry_count > nodes_limit || memory_.bytes() < bus_bytes(prefix.entry_count)) {
    return tl::unexpected(error(errc::corrupt, path + " has a table that does not fit into it" + remove_bus(bus_)));
  }
  nodes_ = prefix.entry_count;
  return {};
}

// With the lock of the bus: takes a byte, then writes the record.
result<bool> node::enter(const bus_options& options) {
  auto life = store_->open_locks(file_name_);
  if (!life) return tl::unexpected(std::move(life.error()));
  life_ = std::move(*life);
  for (u32 pass = 0; pass < 2; ++pass) {
    for (u32 i = 0; i < nodes_; ++i) {
      // sync(node.record): a record that is free was cleaned up after
      if (load_acquire(entry(i).state) != 0) continue;
      const lock_status locked = life_.try_lock(static_cast<off_t>(node_lock_byte(i)));
      if (locked == lock_status::failed) {
        return tl::unexpected(error(errc::system, "locking a byte of " + store_->path(file_name_), 0, errno));
      }
      if (locked != lock_status::taken) continue;
      if (load_acquire(entry(i).state) != 0) {  // sync(node.record): again, now that the byte is ours
        life_.unlock(static_cast<off_t>(node_lock_byte(i)));
        continue;
      }
      write_own_entry(i, options);
      probe_.unlock(shm_lock_byte);
      return true;
    }
    // Full: the dead may have left room. Their cleaners take no lock of the bus.
    if (pass == 0) clean_all_dead();
  }
  return tl::unexpected(error(errc::limit_reached,
                              "bus " + bus_ + " has " + std::to_string(nodes_) +
                                  " nodes, all alive; whoever makes the bus chooses bus_options nodes_max",
                              nodes_));
}

}  // namespace quoit::inline v1::detail
