// A node: one opened bus in one process. The unit of liveness and of waking.
//
// It lives as long as it holds the lock on its byte of the bus segment, through a description opened for
// nothing else: no heartbeat, no pid. Byte before record when it comes, record before byte when it goes.
// Whoever takes the byte of a dead node cleans up after it; the last one out removes every file of the bus, unless
// processes are alive on an earlier file of it, whose name was removed (instance_lock.hpp).
//
// Thread safety: one thread, but for ring_node() and the words of the bus segment, which any thread of any
// process uses.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/deadline.hpp"
#include "base/fork_guard.hpp"
#include "mem/segment_store.hpp"
#include "quoit/detail/bus_layout.hpp"
#include "quoit/options.hpp"
#include "topic/bells.hpp"
#include "topic/instance_lock.hpp"
#include "wake/doorbell.hpp"

namespace quoit::inline v1::detail {

// A node as others name it.
struct node_id {
  u32 index = 0;
  u64 generation = 0;
  friend bool operator==(const node_id&, const node_id&) = default;
};

// What a node is for a loop that it was awaited in; goes with the node.
class node_attachment {
 public:
  virtual ~node_attachment() = default;
  // Somebody else took the ready bits of the node: whose they were is not known any more.
  virtual void ready_was_taken() noexcept = 0;
  // A thread slept on the doorbell of the node, and took its `sleeping` back.
  virtual void slept_beside() noexcept = 0;
  // As that of its loop (quoit/detail/exec/loop.hpp).
  virtual bool left_behind() const noexcept = 0;
};

// What is not over yet when its handle goes.
class node_keepsake {
 public:
  virtual ~node_keepsake() = default;
  virtual bool over() const noexcept = 0;
  // Blocks until it is over, or that time.
  virtual void finish_until(const deadline& /*end*/) noexcept {}
  // True if a thread of its own works on it, so that a forked child cannot take it apart.
  virtual bool has_thread() const noexcept { return false; }
};

// The part of bus_options that is kept; its node name is not.
struct node_settings {
  shm_permissions permissions{};
  wait how = wait::adaptive;
  std::chrono::nanoseconds spin_max{};
  std::chrono::nanoseconds recheck{};
  std::chrono::nanoseconds lock_timeout{};
};

class node {
 public:
  // Errors: invalid_name, limit_reached (nodes_max), no_space, no_permission, busy (the lock of the bus),
  // newer_version, corrupt, system.
  static result<std::shared_ptr<node>> open(std::string_view bus, const bus_options& options);
  // The same in a store of another kind. `why` it is there.
  static result<std::shared_ptr<node>> open_in(std::shared_ptr<segment_store> store, std::string_view bus,
                                               const bus_options& options, std::string why);
  // A node on the kernel path: nobody else sees it, and its words are in memory of this process. `why` it is there.
  // Errors: invalid_name, no_space.
  static result<std::shared_ptr<node>> open_private(std::string_view bus, const bus_options& options, std::string why);
  ~node();
  node(const node&) = delete;
  node& operator=(const node&) = delete;

  const std::string& bus() const noexcept { return bus_; }
  // Where its segments are, and those of its topics.
  segment_store& store() const noexcept { return *store_; }
  const node_settings& settings() const noexcept { return settings_; }
  node_id id() const noexcept { return {index_, generation_}; }
  bool forked() const noexcept { return epoch_ != fork_epoch; }
  // In a forked child: true if its endpoints are left as they are, as its loop is.
  bool left_behind() const noexcept { return attachment != nullptr && attachment->left_behind(); }

  // True: what opens here goes over sockets.
  bool on_kernel() const noexcept { return on_kernel_; }
  // Why it goes the way it does.
  const std::string& why_transport() const noexcept { return why_transport_; }
  void set_why_transport(std::string why) { why_transport_ = std::move(why); }

  doorbell& bell() noexcept { return entry(index_).bell; }
  node_entry& own_entry() noexcept { return entry(index_); }

  // True if the node lives. Of an id that another process wrote: any value is allowed. 0.4 µs.
  bool alive(node_id id) noexcept;
  // True if it lives, as far as its lock says, but its process is on its way out, or was killed and not waited for.
  // False if that cannot be said: in another pid namespace, for one. Some microseconds.
  bool dying(node_id id) noexcept;
  // alive(), asked once until forget_probes(): for rechecks that ask for many topics.
  bool alive_lately(node_id id);
  void forget_probes() noexcept { probed_.clear(); }

  // Takes the byte of a node that is dead, cleans up whatever it left in every topic, and frees its entry.
  // Nothing if it lives, or if somebody else is at it. Takes topic locks, and waits this long for each: the caller
  // holds none. What could not be cleaned up is left to the next one.
  void clean_if_dead(node_id id, std::chrono::nanoseconds lock_timeout);
  void clean_all_dead();

  // Waits until no process is on another instance of the bus, lock_timeout at most. Nothing if the bus has no files.
  // Errors: busy (a process is still on one).
  result<void> wait_for_other_instances() const;
  // When this node is the last one out, it removes the files of the bus also if processes are on another instance.
  void remove_despite_other_instances() noexcept { removes_despite_others_ = true; }

  // Marks subscription `ready_bit` ready and rings. True: it took a system call.
  bool mark_and_ring(node_id id, u32 ready_bit) noexcept;
  void ring_node(node_id id) noexcept;
  // The same, whether the node says that it sleeps or not: somebody who died may have taken that.
  void mark_and_ring_anyway(node_id id, u32 ready_bit) noexcept;
  void ring_node_anyway(node_id id) noexcept;
  // Writes to the pipe of an endpoint of that node; nothing for 0. True: it took a system call.
  bool ring_endpoint(node_id id, u32 pipe) noexcept;

  // For listings.
  u32 node_count_max() const noexcept { return nodes_; }
  const node_entry& entry_at(u32 index) const noexcept { return memory_.object<node_entry>(entry_offset(index)); }

  u32 take_ready_bit() noexcept { return next_ready_bit_++ % ready_bits; }
  // Takes all ready bits, for who looks at everything then; so does the attachment. True if there was one.
  bool take_ready() noexcept;
  bool any_ready() noexcept;
  // Takes the bits of one word.
  u64 take_ready_word(u32 word) noexcept;
  // The descriptor on which the node is rung if it sleeps on its pipe, made at the first call; -1: it could not be
  // made.
  int bell_descriptor() noexcept;
  // A pipe for an endpoint of this node, which does not block, and its number for others. Errors: invalid_argument (a
  // bus without files), limit_reached (descriptors), no_space, no_permission, system.
  struct endpoint_pipe {
    fd descriptor;
    u32 number = 0;
  };
  result<endpoint_pipe> make_endpoint_pipe();
  void remove_endpoint_pipe(u32 number) noexcept;
  enum class wake { in_time, late, vain };  // late: the recheck found something; vain: it was rung for nothing
  void count_sleep(wake how) noexcept;
  // Ends the call in which a thread blocks in this node or, if none does, the next one that would block. Any thread,
  // and a signal handler; errno is kept.
  void interrupt() noexcept;
  // True after interrupt(), until take_interrupt(). A sleeper asks between the fence of its nap and the sleep.
  // relaxed: ordered by that fence
  bool interrupt_requested() const noexcept { return interrupt_.load(std::memory_order_relaxed) != 0; }
  bool take_interrupt() noexcept;
  // The eventfd that interrupt() writes to, for sleepers on descriptors; made at the first call. -1: none is to be had.
  int interrupt_descriptor() noexcept;

  // For the node's own thread: subscription `ready_bit` may have something. Rings nobody.
  void mark_own(u32 ready_bit) noexcept;

  std::unique_ptr<node_attachment> attachment;
  // What goes with the node, while everything of it is still there.
  std::vector<std::unique_ptr<node_keepsake>> kept;

 private:
  static constexpr u64 entry_in_use = 1;

  node() = default;
  result<bool> try_open(const bus_options& options);
  result<bool> create(const bus_options& options);
  result<bool> enter(const bus_options& options);
  result<void> check_header();
  void set_up(std::string_view bus, const bus_options& options);
  void write_own_entry(u32 index, const bus_options& options);
  void leave() noexcept;
  bool anybody_else() noexcept;
  result<void> enter_instance(const segment_locks& file);
  void remove_everything(bool also_topics);
  void tidy_temporaries();

  void ring_pipe(node_id id) noexcept;
  // Whether the bus has files, which pipes can lie beside.
  bool has_names() const noexcept;
  void remove_pipes_of(node_id id);
  static constexpr std::size_t entry_offset(u32 index) noexcept {
    return bus_header_bytes + sizeof(node_entry) * index;
  }
  node_entry& entry(u32 index) noexcept { return memory_.object<node_entry>(entry_offset(index)); }
  bool valid(node_id id) noexcept;

  std::string bus_;
  std::string file_name_;
  node_settings settings_{};
  bool on_kernel_ = false;
  std::string why_transport_;
  std::shared_ptr<segment_store> store_;
  segment_locks probe_;  // for probes, for the lock of the bus, and for the bytes of nodes that we clean
  segment_locks life_;   // holds our byte, and is used for nothing else
  instance_lock instance_;
  bool removes_despite_others_ = false;
  mapping memory_;
  u32 nodes_ = 0;
  u32 index_ = 0;
  u64 generation_ = 0;
  u32 epoch_ = 0;
  u32 next_ready_bit_ = 0;
  u32 pipes_made_ = 0;
  std::vector<std::pair<node_id, bool>> probed_;
  bells bells_;
  fd interrupt_bell_;
  std::atomic<int> interrupt_fd_{-1};  // the same, for interrupt()
  std::atomic<u32> interrupt_{0};
  u64 sleeps_ = 0;
  u64 late_ = 0;
  u64 vain_ = 0;
};

}  // namespace quoit::inline v1::detail
