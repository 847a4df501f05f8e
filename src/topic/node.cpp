#include "topic/node.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/dying.hpp"
#include "base/file_lock.hpp"
#include "topic/names.hpp"
#include "topic/topic_cleanup.hpp"

namespace quoit::inline v1::detail {

// ---- leaving -------------------------------------------------------------------------------------------

node::~node() {
  attachment.reset();
  for (auto& one : kept) {
    if (forked() && one->has_thread()) static_cast<void>(one.release());
  }
  if (!forked()) {
    const deadline end(settings_.lock_timeout);
    for (const auto& one : kept) one->finish_until(end);
  }
  kept.clear();
  if (!life_ || forked()) return;
  leave();
}

// If there is no memory for the names of files, it is as if this process were killed here: the next one on the bus
// cleans up.
void node::leave() noexcept try {
  // A stopped holder of the lock must not keep us from leaving: whoever comes next cleans up.
  const bool locked = probe_.lock(shm_lock_byte, settings_.lock_timeout) == lock_status::taken;
  if (bells_.has_own() && has_names()) unlink_shm(bell_file(bus_, index_, generation_));
  // sync(node.record): free, for whoever takes the byte after us
  store_release(entry(index_).state, 0);
  life_.reset();
  // If somebody removed the file's name, the files with the name of the bus may be those of a newer instance.
  if (locked && !probe_.removed() && !anybody_else()) {
    remove_everything(!instance_ || removes_despite_others_ || !instance_.other());
  }
  instance_.reset();
  if (locked) probe_.unlock(shm_lock_byte);
} catch (const std::bad_alloc&) {
}

bool node::anybody_else() noexcept { return probe_.held_by_other(static_cast<off_t>(node_lock_byte(0)), nodes_); }

// With the lock of the bus, which keeps newcomers from the files until they have no name any more.
void node::remove_everything(bool also_topics) {
  for (const std::string& prefix : {topic_file_prefix(bus_), bell_file_prefix(bus_)}) {
    const auto names = also_topics ? store_->list(prefix) : std::vector<std::string>();
    // Whoever comes next finds nobody on the bus, and removes it all.
    if (!names) return;
    for (const std::string& name : *names) store_->remove(name);
  }
  tidy_temporaries();
  // Before the name goes: a process that makes the bus anew finds no trace of us (I2).
  instance_.reset();
  store_->remove(file_name_);
}

void node::tidy_temporaries() { store_->remove_abandoned(bus_temporary_prefix(bus_)); }

result<void> node::wait_for_other_instances() const {
  if (!instance_) return {};
  const lock_wait_limit limit(settings_.lock_timeout);
  while (const auto instance = instance_.other()) {
    if (!instance_.wait_until_left(*instance, settings_.lock_timeout)) {
      return tl::unexpected(error_of_other_instance(bus_));
    }
  }
  return {};
}

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
  const node_entry& e = entry(id.index);
  // relaxed: ordered by alive()
  const u64 its_namespace = load_relaxed(e.pid_namespace);
  // Elsewhere its number is another process's.
  if (its_namespace == 0 || its_namespace != own_entry().pid_namespace) return false;
  return has_no_descriptors(static_cast<pid_t>(load_relaxed(e.pid)));  // relaxed: ordered by alive()
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
  bool clean = false;
  try {
    remove_pipes_of(whom);
    clean = clean_topics_after(*this, whom, lock_timeout);
  } catch (const std::bad_alloc&) {
    // Left to the next one.
  }
  // sync(node.record): cleaned up, for whoever takes the entry
  if (in_use && clean) store_release(e.state, 0);
  probe_.unlock(byte);
}

void node::remove_pipes_of(node_id id) {
  if (!has_names()) return;
  const std::string own = bell_file(bus_, id.index, id.generation);
  const auto pipes = list_shm(own);
  for (const std::string& name : pipes ? *pipes : std::vector<std::string>()) {
    if (name == own || name[own.size()] == '-') unlink_shm(name);
  }
}

void node::clean_all_dead() {
  const lock_wait_limit limit(settings_.lock_timeout);
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

void node::interrupt() noexcept {
  if (forked()) return;
  const int before = errno;
  // sync(node.interrupt): what the caller stored before is visible to the thread whose wait ends
  interrupt_.store(1, std::memory_order_release);
  // Fences first: either we see that the node sleeps, or its last look sees the request.
  ring_node(id());
  // relaxed: ordered by that fence
  const int descriptor = interrupt_fd_.load(std::memory_order_relaxed);
  const u64 one = 1;
  if (descriptor >= 0) static_cast<void>(::write(descriptor, &one, sizeof one) < 0);
  errno = before;
}

bool node::take_interrupt() noexcept {
  // relaxed: the exchange decides
  if (interrupt_.load(std::memory_order_relaxed) == 0) return false;
  // sync(node.interrupt): as above
  return interrupt_.exchange(0, std::memory_order_acquire) != 0;
}

int node::interrupt_descriptor() noexcept {
  if (!interrupt_bell_) {
    interrupt_bell_ = make_eventfd(EFD_NONBLOCK);
    // relaxed: a thread that sleeps there fences first, and then looks whether an interrupt came before
    interrupt_fd_.store(interrupt_bell_.get(), std::memory_order_relaxed);
  }
  return interrupt_bell_.get();
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
