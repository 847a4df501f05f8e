// The untyped publisher: a lane of its own, and the look for sleepers after each commit.
//
// Owned by the handle and by its open loans together: it goes with the last of them. One thread.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>

#include "quoit/detail/armed_words.hpp"
#include "quoit/detail/fork_epoch.hpp"
#include "quoit/detail/lane_writer.hpp"
#include "quoit/detail/topic_layout.hpp"
#include "quoit/options.hpp"
#include "quoit/result.hpp"
#include "quoit/task.hpp"

namespace quoit::inline v1 {

// Which way messages go, and why that one, in words.
struct transport_info {
  quoit::transport used = quoit::transport::shared_memory;  // shared_memory or kernel
  std::string why;
};

// What a publisher on disk found in its lane when it was opened.
struct recovery_summary {
  std::uint64_t files = 0;         // that are there
  std::uint64_t bytes_cut = 0;     // that were torn, or unreachable behind what was
  std::uint64_t cut_sequence = 0;  // of the first message that is not there any more, if something was cut
  std::string cut;                 // where, and why; empty: nothing was cut
  // Sequences that were passed over, as messages that are not there any more may have had them.
  std::uint64_t sequences_skipped = 0;
};

namespace detail {

class node;
class disk_lane;
struct publisher_parts;
class lane_preparation;

struct message_type {
  std::string_view name;
  std::string_view fields;
  u32 bytes = 0;  // 0: variable
  u32 alignment = 1;
};

// Who keeps a publisher from a loan. Nobody: no_slot, 0 and no name.
struct blocked_by {
  u32 subscription;
  u32 pid;  // for people; means nothing in another pid namespace
  char node_name[48];
};

class QUOIT_EXPORT publisher_core {
 public:
  struct closer {
    void operator()(publisher_core* core) const noexcept { core->close(); }
  };
  using owned = std::unique_ptr<publisher_core, closer>;

  static result<publisher_core*> open(const std::shared_ptr<node>& owner, std::string_view topic,
                                      const message_type& type, const publisher_options& options);
  // The same in a loop, which goes on meanwhile: a large lane is made on another thread, and locks are asked for again
  // and again. What the views and the type refer to stays until it is over. Errors: also cancelled.
  static task<result<owned>> open_async(std::shared_ptr<node> owner, std::string_view topic, message_type type,
                                        publisher_options options);

  // Takes a frame: `out` is to be committed or abandoned. Filled in place, as is the loan around it: a claim that is
  // copied on its way costs as much as the rest. False: why_refused(). `waits_itself`: a refusal is not for the loop
  // that descriptor() is in.
  bool claim(u32 payload_bytes, lane_claim& out, bool waits_itself = false) noexcept {
    if (epoch_ == fork_epoch && in_ring_) [[likely]] {
      refusal_ = writer_->claim(payload_bytes, out);
      if (refusal_ == claim_status::ok) [[likely]] {
        ++loans_;
        return true;
      }
      return refused(payload_bytes, out, waits_itself);
    }
    return claim_elsewhere(payload_bytes, out);
  }
  // The same; waits for space, at most `timeout`.
  bool claim(u32 payload_bytes, lane_claim& out, std::chrono::nanoseconds timeout) noexcept;
  // Why the last claim() was refused: would_block, timed_out, too_many_loans, message_too_large, no_space, forked,
  // closed.
  error why_refused() const noexcept;

  // ---- waiting for space ----
  // After a refusal: true if a reader is in the way, or the next file of a lane on disk is not there yet, and the
  // policy is to wait for it.
  bool worth_waiting() const noexcept;
  // Says that this publisher sleeps until a reader moves, or the disk, or that it does not any more (C2; the caller
  // fences). With a descriptor, which may be waited for beside, only readers take that back.
  void announce_waiting(bool waits) noexcept;
  // Cleans up after the reader that is in the way, if it is dead.
  void probe_blocker() noexcept;
  // A descriptor for loops that are not quoit's; made by the first call.
  result<int> descriptor();
  node& owner() const noexcept;

  void commit(const lane_claim& claim, u32 payload_bytes) noexcept {
    if (epoch_ != fork_epoch || !in_ring_) [[unlikely]]
      return commit_elsewhere(claim, payload_bytes);
    const bool visible = writer_->commit(claim, payload_bytes, stamped_ ? stamp() : 0);
    if (visible) wake_sleepers();
    if (payload_bytes >= prepare_bytes_) [[unlikely]]
      writer_->prepare(payload_bytes);
    give_back();
  }
  void abandon(const lane_claim& claim) noexcept;

  // Copies messages of one size into the lane and wakes once. How many: fewer than asked for if the lane is
  // full. Errors: as why_refused(), if there was not even room for one.
  result<std::size_t> publish_batch(const std::byte* messages, std::size_t message_bytes, std::size_t count) noexcept;

  // The handle went. Closes the lane; what loans are open goes on to live, and is lost. The topic is left with the
  // last of them: until then nobody else may write where they lie.
  void close() noexcept;

  // In memory: what is published is out of this process's hands, or its subscribers are gone.
  bool is_flushed() noexcept;
  // Waits for that. Errors: timed_out, forked.
  result<void> flush(std::chrono::nanoseconds timeout) noexcept;

  task<result<void>> flush_async();
  task<result<void>> matched(u32 n);

  // ---- on disk ----
  // What a flush speaks of, from when it was asked for: positions.
  struct flush_range {
    u64 since = 0;  // what a flush has answered for before
    u64 position = 0;
  };
  // Asks for all that is resolved to be on the disk: what to ask for.
  flush_range request_flush() noexcept;
  enum class flushing { pending, done, failed };
  flushing flush_status(const flush_range& asked) noexcept;
  // After `failed`.
  error why_not_flushed() const;
  // The first sequence that is not known to be on the disk; in memory 0.
  u64 durable_sequence() noexcept;
  recovery_summary recovery() const;

  u32 subscribers() const noexcept;
  u32 payload_bytes_max() const noexcept;
  u64 capacity_bytes() const noexcept;
  u64 published() const noexcept;
  u64 wakes() const noexcept { return wakes_; }
  bool never_refuses() const noexcept;
  blocked_by who_blocks() const noexcept;
  transport_info transport() const;

  publisher_core(const publisher_core&) = delete;
  publisher_core& operator=(const publisher_core&) = delete;

 private:
  static result<publisher_core*> open_with(const std::shared_ptr<node>& owner, std::string_view topic,
                                           const message_type& type, const publisher_options& options,
                                           lane_preparation& prepared, std::chrono::nanoseconds lock_timeout);
  static result<publisher_core*> open_on_disk(const std::shared_ptr<node>& owner, std::string_view topic,
                                              const message_type& type, const publisher_options& options);
  static task<result<owned>> open_on_disk_async(std::shared_ptr<node> owner, std::string_view topic, message_type type,
                                                publisher_options options);
  static result<publisher_core*> open_kernel(const std::shared_ptr<node>& owner, std::string_view topic,
                                             const message_type& type, const publisher_options& options,
                                             std::chrono::nanoseconds lock_timeout);
  friend class disk_opening;
  explicit publisher_core(std::unique_ptr<publisher_parts> parts) noexcept;
  ~publisher_core();

  // After a commit: fence, then look at who wants to be woken (B1).
  void wake_sleepers() noexcept {
    if (anybody_armed(armed_, armed_words_)) [[unlikely]]
      fire_armed();
  }
  void give_back() noexcept {
    if (--loans_ == 0 && !open_) [[unlikely]]
      finish();
  }
  void finish() noexcept;
  bool refused(u32 payload_bytes, lane_claim& out, bool waits_itself) noexcept;
  bool look_for_foreign_loop(u32 payload_bytes, lane_claim& out) noexcept;
  void drop_descriptor() noexcept;
  // On disk, or not at all: closed, or in a forked child.
  bool claim_elsewhere(u32 payload_bytes, lane_claim& out) noexcept;
  void commit_elsewhere(const lane_claim& claim, u32 payload_bytes) noexcept;
  result<std::size_t> publish_batch_on_disk(const std::byte* messages, std::size_t message_bytes,
                                            std::size_t count) noexcept;
  bool wait_for_segment(u32 payload_bytes, lane_claim& out, std::chrono::nanoseconds timeout) noexcept;
  error why_refused_on_disk() const noexcept;
  result<void> flush_on_disk(std::chrono::nanoseconds timeout) noexcept;
  void fire_armed() noexcept;
  u64 stamp() const noexcept;
  bool wait_for_space(u32 payload_bytes, lane_claim& out, std::chrono::nanoseconds timeout) noexcept;

  std::unique_ptr<publisher_parts> parts_;
  lane_writer* writer_;  // of parts_; none on disk
  disk_lane* disk_;      // of parts_; none elsewhere
  u64* armed_;
  u32 armed_words_;
  u32 prepare_bytes_;
  u32 epoch_;
  u32 loans_ = 0;
  bool open_ = true;
  bool in_ring_;  // open, and what is published goes into a ring: what inline code asks for
  bool stamped_;
  bool segment_is_due_ = false;  // of the last claim on disk: it was refused because the next file is being made
  claim_status refusal_ = claim_status::ok;  // of the last claim
  u32 refused_bytes_ = 0;
  u64 wakes_ = 0;
};

}  // namespace detail
}  // namespace quoit::inline v1
