// A publisher's lane on disk, on a bus: the lane's writer, the thread that keeps it, and how that thread wakes whoever
// waits for it.
//
// The thread does what takes a disk: the next segment, and what a flush asks for. When something of that is done it
// rings the bell of the publisher's own node, if somebody there has said that he waits: a thread in flush or in
// loan_for, or a loop. It is the rule of a reader that moves (C2): who waits stores `waiting_`, fences and looks; the
// keeper has stored what is looked at, fences and looks at `waiting_`.
//
// Thread safety: the publisher's thread, but for what the keeper's calls.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "quoit/detail/publisher_core.hpp"
#include "storage/log_writer.hpp"
#include "topic/node.hpp"

namespace quoit::inline v1::detail {

class disk_lane {
 public:
  // The writer has no thread of its own, and nothing of it works yet. `owner` outlives this.
  // Errors: limit_reached (there is no thread to be had).
  static result<std::unique_ptr<disk_lane>> start(std::unique_ptr<log_writer> writer, node& owner,
                                                  const log_writer_options& options);
  ~disk_lane();
  disk_lane(const disk_lane&) = delete;
  disk_lane& operator=(const disk_lane&) = delete;

  // What opening the lane made stays.
  void keep() noexcept { writer_->keep(); }

  segment_appender& appender() noexcept { return writer_->appender(); }
  const segment_appender& appender() const noexcept { return writer_->appender(); }
  segment_keeper& keeper() noexcept { return writer_->keeper(); }
  const recovery_report& report() const noexcept { return writer_->report(); }

  // Somebody at this node waits for the keeper, or nobody does any more. The caller fences behind it.
  void announce_waiting(bool waits) noexcept;
  // True if a claim that found no segment ready would fare otherwise now.
  bool supply_changed() const noexcept;

  // Asks for everything that is resolved to be written back: what to ask for.
  publisher_core::flush_range request_flush() noexcept;
  flush_status flush_status_of(const publisher_core::flush_range& asked) noexcept;
  // Blocks this thread. `interrupted`: it is pending because of node::interrupt().
  flush_status flush(std::chrono::nanoseconds timeout, bool& interrupted) noexcept;
  // The first sequence that is not known to be on the disk.
  u64 durable_sequence() noexcept;

  // For a message of so many bytes: the size of a segment that takes it; 0: none does.
  u64 segment_bytes_for(u32 payload_bytes) const;

  // Kept for a forked child, in which nothing of it may be touched.
  static void forget(std::unique_ptr<disk_lane> inherited) noexcept { static_cast<void>(inherited.release()); }

 private:
  disk_lane(std::unique_ptr<log_writer> writer, node& owner, const segment_kind& kind);
  void something_is_done() noexcept;

  node& owner_;
  const segment_kind kind_;
  std::unique_ptr<log_writer> writer_;
  u64 flushed_ = 0;  // what the last flush that was over spoke of
  u64 durable_sequence_ = 0;
  u64 waiting_ = 0;
  std::optional<keeper_thread> thread_;  // last: it ends first
};

// What the options ask for. Errors: invalid_argument, invalid_name, message_too_large (value: segment_bytes that would
// do, 0 if none would).
result<log_writer_options> disk_options_for(const std::string& topic, const message_type& type,
                                            const publisher_options& options);

}  // namespace quoit::inline v1::detail
