#include "topic/node.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/clock.hpp"
#include "base/dying.hpp"
#include "base/file_lock.hpp"
#include "base/random.hpp"
#include "base/segment_prefix.hpp"
#include "topic/names.hpp"
#include "topic/topic_cleanup.hpp"

namespace quoit::inline v1::detail {

namespace {

constexpr u64 entry_in_use = 1;
constexpr int bus_attempts_max = 100;

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

// ---- opening -------------------------------------------------------------------------------------------

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
  for (int attempt = 0; attempt < bus_attempts_max; ++attempt) {
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
  notice_forks();
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
               std::min(options.spin_max, year),
               std::clamp<std::chrono::nanoseconds>(options.recheck, std::chrono::milliseconds(1), year),
               std::min(options.lock_timeout, year)};
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
  return enter(options);
}

result<bool> node::create(const bus_options& options) {
  auto made = store_->make(bus_temporary_prefix(bus_), bus_bytes(options.nodes_max),
                           {"the nodes of bus " + bus_, "bus_options nodes_max"});
  if (!made) return tl::unexpected(std::move(made.error()));
  bus_header& header = made->memory.object<bus_header>();
  header.prefix =
      prefix_of_now(bus_magic, bus_header_bytes, sizeof(node_entry), options.nodes_max, made->memory.bytes());
  bus_.copy(header.name, sizeof header.name - 1);
  auto placed = store_->place(*made, file_name_, settings_.permissions);
  if (!placed) {
    // Whoever tidies up may take a temporary for abandoned once; then it is made again.
    if (placed.error().code() == errc::not_found) return false;
    return tl::unexpected(std::move(placed.error()));
  }
  if (!*placed) return false;
  probe_ = std::move(made->locks);  // with the lock
  memory_ = std::move(made->memory);
  nodes_ = options.nodes_max;
  return enter(options);
}

result<void> node::check_header() {
  const std::string path = store_->path(file_name_);
  const segment_prefix prefix = memory_.object<bus_header>().prefix;
  if (prefix.magic != bus_magic) {
    return tl::unexpected(error(errc::corrupt, path + " is no bus (wrong magic number)" + remove_bus(bus_)));
  }
  if (prefix.layout_major != layout_major || prefix.required_features != 0) {
    return tl::unexpected(another_version(path, prefix));
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
      if (life_.try_lock(static_cast<off_t>(node_lock_byte(i))) != lock_status::taken) continue;
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
  probe_.unlock(shm_lock_byte);
  return tl::unexpected(error(errc::limit_reached,
                              "bus " + bus_ + " has " + std::to_string(nodes_) +
                                  " nodes, all alive; whoever makes the bus chooses bus_options nodes_max",
                              nodes_));
}

// ---- leaving -------------------------------------------------------------------------------------------

node::~node() {
  attachment.reset();
  kept.clear();
  if (!life_ || forked()) return;
  leave();
}

void node::leave() noexcept {
  // A stopped holder of the lock must not keep us from leaving: whoever comes next cleans up.
  const bool locked = probe_.lock(shm_lock_byte, settings_.lock_timeout) == lock_status::taken;
  if (bells_.has_own() && has_names()) unlink_shm(bell_file(bus_, index_, generation_));
  // sync(node.record): free, for whoever takes the byte after us
  store_release(entry(index_).state, 0);
  life_.reset();
  if (!locked) return;
  if (!anybody_else()) remove_everything();
  probe_.unlock(shm_lock_byte);
}

bool node::anybody_else() noexcept { return probe_.held_by_other(static_cast<off_t>(node_lock_byte(0)), nodes_); }

void node::remove_everything() noexcept {
  for (const std::string& name : store_->list(topic_file_prefix(bus_))) store_->remove(name);
  for (const std::string& name : store_->list(bell_file_prefix(bus_))) store_->remove(name);
  tidy_temporaries();
  store_->remove(file_name_);
}

void node::tidy_temporaries() { store_->remove_abandoned(bus_temporary_prefix(bus_)); }

// ---- the others ----------------------------------------------------------------------------------------

bool node::valid(node_id id) noexcept { return id.index < nodes_; }

bool node::alive(node_id id) noexcept {
  if (id == this->id()) return true;
  if (!valid(id)) return false;
  // sync(node.record): the generation is that of this use of the entry
  if (load_acquire(entry(id.index).state) != entry_in_use) return false;
  if (load_relaxed(entry(id.index).generation) != id.generation) return false;  // relaxed: as above
  return probe_.held_by_other(static_cast<off_t>(node_lock_byte(id.index)), 1);
}

bool node::dying(node_id id) noexcept {
  if (id == this->id() || !alive(id)) return false;
  return has_no_descriptors(static_cast<pid_t>(load_relaxed(entry(id.index).pid)));  // relaxed: ordered by alive()
}

bool node::alive_lately(node_id id) {
  for (const auto& [whom, lives] : probed_) {
    if (whom == id) return lives;
  }
  probed_.emplace_back(id, alive(id));
  return probed_.back().second;
}

void node::clean_if_dead(node_id id, std::chrono::nanoseconds lock_timeout) {
  if (!valid(id) || id == this->id()) return;
  const off_t byte = static_cast<off_t>(node_lock_byte(id.index));
  if (probe_.held_by_other(byte, 1)) return;
  if (probe_.try_lock(byte) != lock_status::taken) return;
  // The record is read after the byte was taken: before, it might have been somebody's who then left.
  node_entry& e = entry(id.index);
  // sync(node.record): as above
  const bool in_use = load_acquire(e.state) == entry_in_use;
  const node_id found{id.index, load_relaxed(e.generation)};  // relaxed: the byte is ours
  const node_id whom = in_use ? found : id;
  remove_pipes_of(whom);
  const bool clean = clean_topics_after(*this, whom, lock_timeout);
  // sync(node.record): cleaned up, for whoever takes the entry
  if (in_use && clean) store_release(e.state, 0);
  probe_.unlock(byte);
}

void node::remove_pipes_of(node_id id) {
  if (!has_names()) return;
  const std::string own = bell_file(bus_, id.index, id.generation);
  for (const std::string& name : list_shm(own)) {
    if (name == own || name[own.size()] == '-') unlink_shm(name);
  }
}

void node::clean_all_dead() {
  for (u32 i = 0; i < nodes_; ++i) {
    // sync(node.record): as above
    if (i == index_ && life_ && generation_ != 0) continue;
    if (load_acquire(entry(i).state) == 0) continue;
    // relaxed: read again under the byte
    clean_if_dead({i, load_relaxed(entry(i).generation)}, settings_.lock_timeout);
  }
}

// ---- waking --------------------------------------------------------------------------------------------

bool node::mark_and_ring(node_id id, u32 ready_bit) noexcept {
  // A record that nobody of us wrote names nobody to wake.
  if (!valid(id) || ready_bit >= ready_bits) return false;
  node_entry& e = entry(id.index);
  const u32 how = detail::mark_and_ring(e.ready[ready_bit / 64], u64{1} << (ready_bit % 64), e.bell);
  if (how == sleeps_on_pipe) ring_pipe(id);
  return how != 0;
}

void node::ring_node(node_id id) noexcept {
  if (valid(id) && ring(entry(id.index).bell) == sleeps_on_pipe) ring_pipe(id);
}

// One that cannot be opened costs latency: the node looks around by itself once in `recheck`.
void node::ring_pipe(node_id id) noexcept {
  if (id == this->id()) return bells_.ring_own();
  // relaxed: whoever said that it sleeps there has written its record before
  const u64 generation = load_relaxed(entry(id.index).generation);
  if (bells_.ring_known(id.index, generation, 0)) return;
  try {
    if (has_names()) {
      bells_.ring(id.index, generation, 0, bell_file(bus_, id.index, generation));
      return;
    }
    const node_entry& e = entry(id.index);
    // relaxed: as above
    const u32 pid = load_relaxed(e.pid), descriptor = load_relaxed(e.bell_descriptor);
    const u64 inode = load_relaxed(e.bell_inode);  // relaxed: as above
    if (inode == 0) return;
    const std::string path = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(descriptor);
    bells_.ring(id.index, generation, 0, path, inode);
  } catch (const std::bad_alloc&) {
  }
}

bool node::has_names() const noexcept { return store_ == shm_store(); }

bool node::ring_endpoint(node_id id, u32 pipe) noexcept try {
  if (pipe == 0) return false;
  if (bells_.ring_known(id.index, id.generation, pipe)) return true;
  bells_.ring(id.index, id.generation, pipe, bell_file(bus_, id.index, id.generation, pipe));
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

result<node::endpoint_pipe> node::make_endpoint_pipe() {
  if (!has_names()) {
    return tl::unexpected(error(errc::invalid_argument,
                                "fd() needs a pipe that others find by its name, and a bus in inherited memory has no "
                                "names: co_await, or put an executor into the other loop (executor.fd())"));
  }
  const u32 number = pipes_made_ + 1;
  const std::string name = bell_file(bus_, index_, generation_, number);
  fd made = make_pipe(name, settings_.permissions);
  if (!made) {
    const int why = errno;
    const std::string words = "making the pipe " + store_->path(name) + ": " + std::strerror(why);
    const errc code = why == EMFILE || why == ENFILE  ? errc::limit_reached
                      : why == EACCES || why == EPERM ? errc::no_permission
                      : why == ENOSPC                 ? errc::no_space
                                                      : errc::system;
    return tl::unexpected(error(code, words, 0, why));
  }
  pipes_made_ = number;
  return endpoint_pipe{std::move(made), number};
}

void node::remove_endpoint_pipe(u32 number) noexcept try {
  store_->remove(bell_file(bus_, index_, generation_, number));
} catch (const std::bad_alloc&) {
  // Whoever is the last on the bus removes it.
}

int node::bell_descriptor() noexcept try {
  // Asked before each sleep.
  if (bells_.has_own()) return bells_.own_descriptor();
  int own = -1;
  if (!on_kernel_ && !has_names()) {
    u64 inode = 0;
    own = bells_.own_unnamed(inode);
    if (own >= 0) {
      // relaxed: read by who took the `sleeping` that is set after this
      store_relaxed(own_entry().bell_descriptor, static_cast<u32>(own));
      store_relaxed(own_entry().bell_inode, inode);  // relaxed: as above
    }
  } else {
    own = bells_.own(on_kernel_ ? std::string() : bell_file(bus_, index_, generation_), settings_.permissions);
  }
  // relaxed: whoever rings for the dead looks at it after the fence of its own, and before that nobody sleeps there
  if (own >= 0) store_relaxed(own_entry().rung, sleeps_on_pipe);
  return own;
} catch (const std::bad_alloc&) {
  return -1;
}

void node::mark_and_ring_anyway(node_id id, u32 ready_bit) noexcept {
  if (!valid(id) || ready_bit >= ready_bits) return;
  node_entry& e = entry(id.index);
  detail::mark_and_ring_anyway(e.ready[ready_bit / 64], u64{1} << (ready_bit % 64), e.bell);
  if (load_relaxed(e.rung) == sleeps_on_pipe) ring_pipe(id);  // relaxed: as in ring_node_anyway()
}

void node::ring_node_anyway(node_id id) noexcept {
  if (!valid(id)) return;
  ring_anyway(entry(id.index).bell);
  // relaxed: stored before the node slept so for the first time; one that begins to is about to look
  if (load_relaxed(entry(id.index).rung) == sleeps_on_pipe) ring_pipe(id);
}

void node::mark_own(u32 ready_bit) noexcept {
  // sync(wake.ready): taken by the same thread
  fetch_or(own_entry().ready[ready_bit / 64 % ready_words], u64{1} << (ready_bit % 64));
}

bool node::any_ready() noexcept {
  for (const u64& bits : own_entry().ready) {
    if (load_relaxed(bits) != 0) return true;  // relaxed: ordered by the fence of the nap; taken by exchange
  }
  return false;
}

bool node::take_ready() noexcept {
  bool any = false;
  for (u64& bits : own_entry().ready) {
    // relaxed: the exchange decides
    if (load_relaxed(bits) == 0) continue;
    // sync(wake.ready): the commits that were fired for are visible to the looks that follow
    any = exchange(bits, 0) != 0 || any;
  }
  if (any && attachment != nullptr) attachment->ready_was_taken();
  return any;
}

u64 node::take_ready_word(u32 word) noexcept {
  u64& bits = own_entry().ready[word];
  // relaxed: the exchange decides
  if (load_relaxed(bits) == 0) return 0;
  // sync(wake.ready): as in take_ready()
  return exchange(bits, 0);
}

void node::count_sleep(wake how) noexcept {
  node_entry& e = own_entry();
  if (load_relaxed(e.rung) == 0) store_relaxed(e.rung, sleeps_on_word);  // relaxed: a hint
  store_relaxed(e.sleeps, ++sleeps_);                                    // relaxed: a counter
  if (how == wake::late) store_relaxed(e.late, ++late_);                 // relaxed: a counter
  if (how == wake::vain) store_relaxed(e.vain, ++vain_);                 // relaxed: a counter
}

}  // namespace quoit::inline v1::detail
