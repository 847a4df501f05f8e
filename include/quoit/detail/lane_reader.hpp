// The reading side of a lane, for one subscription with a slot.
//
// A reliable reader's slot is a wall: the position of the oldest byte that it still needs. A lossy reader's
// slot is a mask of strides that it may be reading: the writer steps over them, and goes round a lap ahead
// of a reader that is too slow, which then learns how many messages it lost. No byte that a slot covers is
// ever overwritten, so a sample is read in place, without a copy and without a check afterwards.
//
// An observer has no slot: nobody waits for it and nobody steps around it. It copies, by whole words, and then asks
// whether the writer had come round again; what it copied counts only if not (src/ring/lane_observer.cpp).
//
// Everything read from the segment is input: a frame that cannot be there is `corrupt`, never a crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "quoit/detail/export.hpp"
#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

enum class take_status : u8 {
  message,
  nothing,
  lagged,         // `lost` messages were overwritten; the next take goes on behind them
  drained,        // the lane is closed and everything in it was taken
  too_many,       // as many samples as the subscription may hold are held
  corrupt,        // no lane's writer leaves such bytes
  newer_version,  // a frame flag that this version does not know
  clock_changed,  // of a lane on disk, where it was asked for: what comes next was stamped by another clock
};

// A message in place.
struct lane_frame {
  const std::byte* payload = nullptr;
  u64 position = 0;
  u64 sequence = 0;
  u64 stamp = 0;  // ns, CLOCK_REALTIME; 0 on a lane without stamps
  u32 payload_bytes = 0;
};

// Rings the publisher of a lane, who waits for space.
struct lane_poke {
  void (*call)(void* context) = nullptr;
  void* context = nullptr;
};

class QUOIT_EXPORT lane_reader {
 public:
  enum class reading : u8 { reliable, lossy, observing };

  // The slot belongs to the caller. It is not active until one of the start functions ran. An observer's is not used.
  lane_reader(const lane_memory& memory, const lane_geometry& geometry, u32 slot, reading how, u32 held_max,
              lane_poke poke);
  lane_reader(const lane_reader&) = delete;
  lane_reader& operator=(const lane_reader&) = delete;

  // Each makes the slot active. False: the lane's bytes make no sense.
  //
  // On a lane that is younger than the subscription, whose maker set the slot: at the first frame.
  void start_at_first() noexcept;
  // Behind everything that was committed when this was called.
  bool start_at_latest() noexcept;
  // The last `messages` of what is still there, or as many as there are.
  bool start_with_history(u64 messages) noexcept;

  // The next message. Its bytes stay until release(). Never blocks.
  take_status take(lane_frame& out) noexcept {
    if (position_ < safe_end_ && held_count_ < held_max_) [[likely]] {
      // sync(lane.commit): a message's header makes its payload and the zero behind it visible
      const frame_header h{load_acquire(memory_.word(geometry_.offset(position_)))};
      const u64 end = position_ + geometry_.extent(h.payload_bytes());
      if (h.is(frame_kind::message) && h.flags() == 0 && geometry_.flags == 0 && end <= safe_end_ &&
          h.sequence_low() == (sequence_ & sequence_low_mask)) [[likely]] {
        out.payload = memory_.data + geometry_.offset(position_) + word_bytes;
        out.position = position_;
        out.sequence = sequence_;
        out.stamp = 0;
        out.payload_bytes = h.payload_bytes();
        held_[held_count_++] = {position_, end};
        position_ = end;
        ++sequence_;
        return take_status::message;
      }
      if (h.word == 0 && !closed_) [[likely]]
        return take_status::nothing;
    }
    return take_slow(out);
  }

  // The next message, copied, for an observer: `out.payload` is memory of this reader until release(). It allocates
  // when a message is larger than all before it; `too_many` if that memory cannot be had.
  take_status take_copy(lane_frame& out) noexcept;

  // One more frame for a batch that began with `batch`: it comes under the same hold, and release(batch) gives
  // all of it back with one move of the slot. Only within the stride where the batch began; false ends it.
  bool take_more(const lane_frame& batch, lane_frame& out) noexcept {
    if (held_count_ == 0) return false;
    held_frame& hold = held_[held_count_ - 1];
    if (hold.begin != batch.position || position_ >= safe_end_ ||
        geometry_.stride_of(position_) != geometry_.stride_of(batch.position)) {
      return false;
    }
    // sync(lane.commit): as in take()
    const frame_header h{load_acquire(memory_.word(geometry_.offset(position_)))};
    const u64 end = position_ + geometry_.extent(h.payload_bytes());
    if (!h.is(frame_kind::message) || h.flags() != geometry_.flags || end > safe_end_ ||
        h.sequence_low() != (sequence_ & sequence_low_mask)) {
      return false;
    }
    fill(h, out);
    hold.end = end;
    position_ = end;
    ++sequence_;
    return true;
  }

  // Gives the bytes back.
  void release(const lane_frame& frame) noexcept {
    if (held_count_ == 1 && held_[0].begin == frame.position) [[likely]] {
      held_count_ = 0;
      if (mode_ == reading::reliable && position_ < stride_end_) [[likely]] {
        // sync(lane.release): our loads of the payload come before the writer's stores there
        store_release(*place_, position_);
        return;
      }
      // The stride stays pinned for what comes next.
      if (mode_ == reading::lossy && position_ < safe_end_ && frame.position >= pinned_begin_) [[likely]]
        return;
      move_slot();
      return;
    }
    release_slow(frame);
  }

  // Leaves the lane: the slot is nobody's wall any more. Nothing may be held.
  void stop() noexcept;

  // Looks whether the lane was closed, or opened again by an adopter; take() says `drained` after that.
  void look_at_state() noexcept;

  // For a lane that is written on this thread, when all in it was taken: n sequences are not in it, of which `lost`
  // were messages.
  void step_sequence(u64 n, u64 lost) noexcept {
    sequence_ += n;
    voids_ += n - lost;
    lost_ = lost;
    lost_total_ += lost;
  }

  // True if the lane is closed and everything in it was taken. Takes nothing.
  bool drained() noexcept;

  // True if a take would return something other than `nothing`.
  bool ready() noexcept;

  u64 position() const noexcept { return position_; }
  u64 sequence() const noexcept { return sequence_; }
  u64 lost() const noexcept { return lost_; }  // messages, of the last `lagged`
  u64 lost_total() const noexcept { return lost_total_; }
  u32 held() const noexcept { return held_count_; }
  u32 copies_held() const noexcept;
  reading mode() const noexcept { return mode_; }
  bool active() const noexcept { return active_; }
  const lane_geometry& geometry() const noexcept { return geometry_; }
  const lane_memory& memory() const noexcept { return memory_; }
  // Shows the counters in the slot.
  void count() noexcept;

 private:
  struct held_frame {
    u64 begin;
    u64 end;
  };
  // Of an observer.
  struct message_copy {
    message_copy() = default;
    message_copy(const message_copy&) = delete;
    message_copy& operator=(const message_copy&) = delete;
    ~message_copy() { std::free(bytes); }

    std::byte* bytes = nullptr;
    u64 capacity_bytes = 0;
    bool held = false;
  };

  void fill(frame_header h, lane_frame& out) const noexcept {
    const u64 offset = geometry_.offset(position_);
    out.payload = memory_.data + offset + payload_offset(geometry_.flags);
    out.position = position_;
    out.sequence = sequence_;
    // relaxed: ordered by the acquire of the header
    out.stamp = (geometry_.flags & frame_stamped) != 0 ? load_relaxed(memory_.word(offset + word_bytes)) : 0;
    out.payload_bytes = h.payload_bytes();
  }

  take_status take_slow(lane_frame& out) noexcept;
  take_status at_end(bool claimed, u32 claimed_bytes) noexcept;
  bool step_over(u64 length, bool spends_sequence) noexcept;
  void release_slow(const lane_frame& frame) noexcept;
  void move_slot() noexcept;
  void poke_waiting_writer() noexcept;
  bool cover(u64 begin, u64 end, u64 check) noexcept;
  bool still_reserved_for_us(u64 position) const noexcept;
  take_status resync() noexcept;
  bool overtaken_at(u64 position) const noexcept;
  bool place_at(const lane_checkpoint& checkpoint) noexcept;
  bool find_checkpoint(u64 not_before, u64 count_max, bool newest, lane_checkpoint& out) const noexcept;
  bool walk(u64 position_target, u64 count_target) noexcept;
  void begin_counting() noexcept;
  u64 oldest_needed() const noexcept;
  u64 held_strides() const noexcept;
  u64 stride_bits(u64 begin, u64 end) const noexcept;
  void set_active(u64 place) noexcept;

  lane_memory memory_;
  lane_geometry geometry_;
  u64* place_;  // of our slot; an observer's is its own

  u64 position_ = 0;      // the next frame
  u64 safe_end_ = 0;      // frames that end here or before may be read; reliable: the end of the lap
  u64 sequence_ = 0;      // of the next frame
  u64 stride_end_ = 0;    // reliable: a slot that moves past this crosses a stride
  u64 pinned_begin_ = 0;  // lossy: where the pinned strides begin
  held_frame* held_ = nullptr;
  u32 held_count_ = 0;
  u32 held_max_ = 0;
  reading mode_;
  bool closed_ = false;  // the lane was seen closed
  bool active_ = false;
  bool resync_due_ = false;
  u32 slot_;
  u64 voids_ = 0;  // void frames before position_
  u64 lost_ = 0;
  u64 lost_total_ = 0;
  u64 count_at_start_ = 0;
  lane_poke poke_;
  std::vector<held_frame> held_storage_;
  u64 own_place_ = 0;
  std::vector<message_copy> copies_;
};

}  // namespace quoit::inline v1::detail
