// The reading side of a lane on disk: from any place in it to its live end, and on from there.
//
// Nothing is ever overwritten, so there is no slot and no cover: a reader looks at the header at its position, as in a
// ring, and a message is read in place. A segment in which it is, or of which it holds a sample, is not removed.
//
// Segments that were written since the machine started are believed; of others every frame is verified before it is
// delivered, so that what a power failure tore is never seen. Everything is input: `corrupt`, never a crash.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "quoit/detail/export.hpp"
#include "quoit/detail/lane_reader.hpp"
#include "quoit/detail/segment_layout.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1::detail {

class directory_handle;
struct lane_clock;
struct log_lane;

class QUOIT_EXPORT log_reader {
 public:
  // Opens the lane of a publisher; it may have no messages yet. One of the start functions comes next.
  // `check_all`: also what was written since the machine started is verified.
  // Errors: not_found, invalid_name, no_permission, corrupt, newer_version, system.
  static result<std::unique_ptr<log_reader>> open(const std::string& root, const std::string& topic,
                                                  const std::string& name, u32 held_max, bool check_all = false);
  static std::unique_ptr<log_reader> open(log_lane lane, u32 held_max, bool check_all = false);
  ~log_reader();
  log_reader(const log_reader&) = delete;
  log_reader& operator=(const log_reader&) = delete;

  // Each goes to a place, also from another one. Nothing may be held. Errors: corrupt, newer_version, no_permission,
  // limit_reached (descriptors), not_found (segments go before they can be opened, a hundred times over), system.
  result<void> start_at_earliest();
  // Behind everything that is committed.
  result<void> start_at_latest();
  // The last `messages`, or as many as there are.
  result<void> start_with_last(u64 messages);
  // The message with this sequence, or the first one after it that is there. `lagged` comes first if messages were
  // removed between. Behind everything: at the end.
  result<void> start_at_sequence(u64 sequence);
  // The last `messages` before this sequence, or as many as there are; `lagged` comes first as above.
  result<void> start_before_sequence(u64 sequence, u64 messages);
  // The same, of a reader that has been here, and had everything before: where the lane has no segment that is begun,
  // it waits for one and goes to this place there.
  result<void> resume_at(u64 sequence);
  // The first message that was published at this time (CLOCK_REALTIME in ns) or later. Where the clock was set back,
  // everything before counts as published before it was: the clock that was set last is right.
  result<void> start_at_time(u64 time_ns);
  // Goes on behind what was taken, in another directory that has the same lane. What is held stays. Errors: as above.
  result<void> go_on_in(log_lane lane);

  // The next message. Its bytes stay until release(). `nothing` at the end, also where that is torn.
  take_status take(lane_frame& out) noexcept {
    if (position_ < believed_end_ && held_ < held_max_) [[likely]] {
      const std::byte* const frame = data_ + (position_ - begin_);
      // sync(segment.commit): a message's header makes its words and its payload visible
      const frame_header h{load_acquire(*static_cast<const u64*>(static_cast<const void*>(frame)))};
      const u64 end = position_ + align_up(segment_words_bytes + h.payload_bytes(), alignment_);
      if (h.is(frame_kind::message) && h.flags() == segment_frame_flags && end + word_bytes <= believed_end_ &&
          h.sequence_low() == (sequence_ & sequence_low_mask)) [[likely]] {
        out.payload = frame + segment_words_bytes;
        out.position = position_;
        out.sequence = sequence_;
        // relaxed: ordered by the acquire of the header
        out.stamp = load_relaxed(*static_cast<const u64*>(static_cast<const void*>(frame + word_bytes)));
        out.payload_bytes = h.payload_bytes();
        position_ = end;
        ++sequence_;
        ++held_;
        ++held_here_;
        return take_status::message;
      }
      if (h.word == 0 && position_ >= safe_end_) [[likely]]
        return take_status::nothing;
    }
    return take_slow(out);
  }

  // Gives the bytes back.
  void release(const lane_frame& frame) noexcept {
    --held_;
    if (is_in_segment(frame)) [[likely]] {
      --held_here_;
      return;
    }
    release_old(frame);
  }
  // False: the reader has left the segment of this frame, which is held.
  bool is_in_segment(const lane_frame& frame) const noexcept {
    // By address: a directory that takes the place of another has the same positions and sequences.
    return reinterpret_cast<std::uintptr_t>(frame.payload) - reinterpret_cast<std::uintptr_t>(data_) < data_bytes_;
  }

  // From now on take() says clock_changed before the first message of another clock than clock() was.
  void tell_clocks() noexcept { tells_clocks_ = true; }
  // Of the message that comes next.
  const lane_clock& clock() const noexcept;
  // The directory of the lane.
  const directory_handle& where() const noexcept;

  // True if take() would not say `nothing`.
  bool ready() noexcept;

  // The publisher may have died, and another one, or a repair, may have cut the lane. From now on a claimed frame makes
  // it ask whether the publisher lives; what a dead one had claimed is void, and messages behind it come next. Until it
  // finds one alive. At the next end it asks whether the lane goes on elsewhere.
  void look_at_writer() noexcept {
    look_due_ = path_look_due_ = true;
    safe_end_ = ~u64{0};
  }

  u64 position() const noexcept { return position_; }
  u64 sequence() const noexcept { return std::max(sequence_, wanted_); }  // of the next message
  u64 lost() const noexcept { return lost_; }                             // messages, of the last `lagged`
  u64 lost_total() const noexcept { return lost_total_; }
  u32 held() const noexcept { return held_; }
  // The position before which everything is on the disk, as the publisher last said.
  u64 durable_position() const noexcept;
  // A publisher holds the lane now, here or in another process.
  bool is_written() const noexcept;
  // Two words, of the lane's own file.
  const u64* lane_id() const noexcept;
  // Of the last `corrupt`: where, and why.
  const std::string& fault() const noexcept;

 private:
  struct parts;
  struct by_key;

  log_reader(std::unique_ptr<parts> p, u32 held_max, bool check_all);

  take_status take_slow(lane_frame& out) noexcept;
  take_status look_and_take(lane_frame& out) noexcept;
  void note_clock() noexcept;
  bool take_whole(lane_frame& out) noexcept;
  take_status take_checked(lane_frame& out);
  take_status cross();
  take_status go_on();
  take_status at_end();
  take_status take_here(lane_frame& out);
  take_status look_elsewhere(take_status found);
  take_status tell_lagged() noexcept;
  take_status at_bad(const char* reason);
  take_status corrupt(const std::string& words);
  bool is_removed() const noexcept;
  bool was_left() const;
  bool is_replaced() const;
  std::string where_it_is() const;
  u64 removed_before(u64 sequence) const noexcept;
  void release_old(const lane_frame& frame) noexcept;
  void leave_segment();
  result<bool> begin_in(u64 number);
  result<void> seek(const by_key& key);
  result<bool> seek_in_list(const by_key& key);
  void find_clock(const by_key& key, const std::vector<u64>& numbers, std::size_t& low, std::size_t& high) const;
  result<void> walk_to(const by_key& key);

  std::unique_ptr<parts> parts_;
  const std::byte* data_ = nullptr;
  u64 data_bytes_ = 0;    // behind data_
  u64 begin_ = 0;         // position of data_
  u64 position_ = 0;      // the next frame
  u64 believed_end_ = 0;  // of the segment, or until where it is read without a look; 0: every frame is verified
  u64 looked_until_ = 0;  // from here on look_and_take() is due
  u64 safe_end_ = 0;      // before it everything was on the disk at the last look
  u64 sequence_ = 0;      // of the next frame
  u64 voids_ = 0;         // before it
  u64 stamp_ = 0;         // of the frame before it, where that was verified
  u64 epoch_begin_ = 0;   // of the segment
  u64 wanted_ = 0;        // the place in the first segment that is begun, where none is
  u64 lost_ = 0;
  u64 lost_total_ = 0;
  u32 alignment_ = 8;
  u32 held_ = 0;
  u32 held_here_ = 0;  // of them in this segment
  u32 held_max_;
  bool check_all_;
  bool verifies_ = false;       // every frame of this segment
  bool look_due_ = false;       // at a claimed frame, whether its publisher lives is to be asked
  bool path_look_due_ = false;  // where there is nothing, whether the lane goes on elsewhere is to be asked
  bool at_roll_ = false;        // the last look found the end of the segment
  bool lagged_due_ = false;     // a start function found that messages are missing
  bool tells_clocks_ = false;
  bool clock_due_ = false;  // clock_changed comes next
};

}  // namespace quoit::inline v1::detail
