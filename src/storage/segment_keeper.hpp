// What a publisher on disk must not wait for: making segments, writing them back, removing old ones.
//
// The publisher asks (next, starts, request); whoever runs work(), a thread of its own or an executor's, does what is
// due. Between the two is a lock that is held for as long as a pointer takes, never during a system call on a file.
//
// Before a segment can be taken, a limit above all sequences that fit is on the disk, so that none is used twice (S12).
//
// Segments are made ahead: one at first, and more, up to spare_bytes_max, where the publisher takes them quickly, so
// that a disk that keeps the helper waiting for a moment does not keep the publisher waiting.
//
// After an error of writing back, the kernel has forgotten which pages it lost: the segment is never synced again, what
// was asked for in it is answered with the error, and the publisher leaves it.
//
// Readers find a lane by its path. So the helper asks whether that still leads to the file that the publisher has
// locked: before each segment that it makes, before each write-back, and once a second while something is published. If
// it does not, claims are refused and flushes fail until it does again.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "quoit/detail/segment_appender.hpp"
#include "storage/log_lane.hpp"
#include "storage/retention.hpp"
#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

enum class log_durability : u8 {
  os,        // what is published survives the process; nothing is written back on purpose
  interval,  // and the machine, but for the last interval
  each,      // and the machine, once a flush has said so
};

struct keeper_options {
  segment_kind kind;
  log_durability durability = log_durability::os;
  std::chrono::nanoseconds interval = std::chrono::milliseconds(10);
  retention_limits retention;
  storage_calls calls = storage_calls::of_system();
  u64 epoch_begin = 0;  // of what the publisher publishes
  u64 sequences_reserved = sequences_reserved_at_once;
};

enum class flush_status : u8 {
  durable,
  pending,
  failed,  // it could not be written back; see segment_keeper::failure()
};

class segment_keeper final : public segment_supply {
 public:
  // Segments that are made ahead have so many bytes together, and are so many; one there is in any case.
  static constexpr u64 spare_bytes_max = u64{256} << 20;
  static constexpr u32 spares_max = 16;

  // `current` is where the publisher goes on, at `place`. `lane` is the publisher's, and outlives this; the durable
  // position is shown in its file.
  segment_keeper(keeper_options options, const log_lane& lane, std::shared_ptr<segment_file> current,
                 const log_place& place);
  segment_keeper(const segment_keeper&) = delete;
  segment_keeper& operator=(const segment_keeper&) = delete;

  // The frontier that is written back; set before work() begins.
  void watch(segment_appender& appender) noexcept { appender_ = &appender; }

  segment_memory current() const noexcept;

  // ---- on the publisher's thread ----
  append_status next(const place& at, const segment_clock& clock, segment_memory& out) noexcept override;
  void starts(u64 number, const log_place& place, u64 left_at) noexcept override;
  // What is before `position` is to be on the disk. With durability `os` too, where nobody else asks for it: there a
  // segment that was passed long ago is opened for it again.
  void request(u64 position) noexcept;
  // The same, written back before this returns, by the caller: without a helper that has to wake, and to wake it again.
  // Or it has failed: status_of() says.
  void write_back_here(u64 position);

  // ---- from any thread ----
  // Of everything in [since, position): failed if any of it is, once nothing of it is pending.
  flush_status status_of(u64 since, u64 position) const;
  // Waits until it is not pending any more. Pending: the time was over first.
  flush_status wait(u64 since, u64 position, std::chrono::nanoseconds timeout);
  u64 durable_position() const;
  // The same, and not behind what failed at or after `since`.
  u64 durable_position(u64 since) const;
  // The word at this position: a frame's header, or a skip. 0: it is in no segment that is still mapped.
  u64 word_at(u64 position) const;
  // Segments that are ready to be taken, and how many there shall be.
  u32 spares() const;
  u32 spares_wanted() const;
  // Why the last segment could not be made, or be written back. errc 0 if nothing ever failed. While the lane is not at
  // its path (log_lane::is_at_its_path()), both say that, with not_found.
  error supply_failure() const;
  error sync_failure() const;
  // Called when the durable position moved, or a segment became ready, by whoever did it: the helper's thread, or the
  // one in write_back_here(). Set before work() begins.
  void when_done(std::function<void()> callback) { done_ = std::move(callback); }

  // ---- on the helper's thread ----
  // Does what is due. False: nothing was.
  bool work();
  // Sleeps until something may be due.
  void wait_for_work();
  // Ends wait_for_work().
  void stop();
  bool stopped() const;
  // Removes the segments that were made ahead and never taken. The last call: nobody works or publishes any more.
  void remove_spares() noexcept;

 private:
  // What is written back is not touched much further ahead than it will be filled: every page that is touched is
  // written.
  static constexpr u64 window_bytes = u64{1} << 20;

  struct kept_segment {
    std::shared_ptr<segment_file> file;
    u64 begin;
    u64 end;      // of its frames, once it is passed
    bool passed;  // the publisher has nothing in it any more
    bool failed;
  };
  struct range {
    u64 begin = 0;
    u64 end = 0;
  };

  bool look_at_path();
  bool path_look_due() noexcept;
  bool make_spare();
  bool remove_small_spares() noexcept;
  result<void> reserve_for_spare();
  void record_begun();
  void populate_whole(const segment_file& file);
  bool populate_current();
  bool is_too_small() const noexcept;
  bool spare_due() const noexcept;
  void want_spares(std::chrono::steady_clock::time_point now) noexcept;
  bool write_back();
  result<void> write_back_passed(u64 from, u64 first_kept, u64 position);
  void mark_after_failure(u64 failed_number);
  bool could_not(u64 end, error why);
  void synchronize(const std::shared_ptr<segment_file>& file, u64 begin, u64 position);
  void note_start(u64 number, const log_place& place, u64 left_at) noexcept;
  bool is_drop_due() const noexcept;
  bool drop_passed();
  bool retain();
  void populate_ahead(const segment_file& file, u64 offset);
  void show_durable(u64 position) noexcept;
  flush_status status_locked(u64 since, u64 position) const noexcept;

  const keeper_options options_;
  const u32 spares_limit_;
  const u64 frames_max_;  // of the largest segments
  const log_lane& place_;
  const directory_handle& where_;
  log_lane_header& lane_;
  segment_appender* appender_ = nullptr;
  std::function<void()> done_;

  std::mutex writing_back_;  // one at a time; taken before the other
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable moved_;
  std::deque<kept_segment> kept_;                     // oldest first; the last is the one being written
  std::deque<std::shared_ptr<segment_file>> spares_;  // the next one first
  u64 retained_last_ = 0;                             // the current one when retention was looked at
  u64 taken_sequence_;                                // where the segment that was taken last begins
  u64 frame_bytes_ = 0;                               // of a frame that waits for a segment with room for it
  u32 wanted_ = 1;
  std::chrono::steady_clock::time_point taken_at_;  // when the publisher came to the last segment
  std::vector<range> failed_;
  range not_tried_{};  // for want of a descriptor, or of rights: the next request tries
  u64 requested_ = 0;
  u64 durable_ = 0;
  bool stop_ = false;
  error supply_failure_{errc{}};
  error sync_failure_{errc{}};
  error path_failure_{errc{}};

  std::chrono::steady_clock::time_point next_sync_;
  u64 populated_ = 0;  // position; of who writes back

  // The helper's.
  segment_retention retention_;
  u64 newest_;
  u64 newest_bytes_;                     // of that segment
  u64 limit_;                            // sequences below it may be used: that is on the disk
  u64 recorded_begun_;                   // in the lane's file
  std::shared_ptr<segment_file> whole_;  // the first segment, until all its pages were touched
  u64 whole_from_ = 0;                   // offset in its file
  std::chrono::steady_clock::time_point next_attempt_{};
  std::chrono::steady_clock::time_point next_look_;
  u64 looked_at_ = 0;  // frontier at the last look at the path
};

// Runs work() until it goes.
class keeper_thread {
 public:
  explicit keeper_thread(segment_keeper& keeper);
  keeper_thread(const keeper_thread&) = delete;
  keeper_thread& operator=(const keeper_thread&) = delete;
  ~keeper_thread();

 private:
  segment_keeper& keeper_;
  std::thread thread_;
};

}  // namespace quoit::inline v1::detail
