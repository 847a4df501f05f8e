// The writing side of a lane on disk: one thread of one process.
//
// A claim takes a place at the tail; committing it stamps and checks it, stores its header and makes it visible;
// readers see frames in the order in which they were claimed. Segments come from a supply, which has made and populated
// the next one before it is asked: nothing here makes a system call, or waits. docs/design/storage.md has the rules (S1
// to S12) that comments name.
//
// Invariants: what is behind the tail is zero in the file, but for the payload of the newest claim (S2). Frames before
// the frontier are committed or void. A word fits between the tail and the segment's end (S3).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "quoit/detail/export.hpp"
#include "quoit/detail/lane_writer.hpp"
#include "quoit/detail/segment_layout.hpp"
#include "quoit/detail/stamp_clock.hpp"

namespace quoit::inline v1::detail {

enum class append_status : u8 {
  ok,
  not_ready,    // the next segment is still being made
  would_block,  // a claim of our own is open that is older than as many segments as may be hidden behind one
  no_space,     // the disk is full, or whatever else kept the next segment from being made
  too_large,    // more than payload_bytes_max
  too_many,     // as many claims as the table holds are unresolved
};

// Where the next frame goes.
struct log_place {
  u64 position = 0;
  u64 sequence = 0;
  u64 voids = 0;  // void frames before it
  u64 stamp = 0;  // of the frame before it
};

// The memory of one segment, owned by the supply.
struct segment_memory {
  std::byte* data = nullptr;
  segment_index_entry* index = nullptr;
  u64 begin = 0;  // position
  u64 number = 0;
  u64 clock_first = 0;  // segment_clock::first, as it is stored there
  u64 data_bytes = 0;   // segments of one lane may have different sizes
  u32 index_shift = 0;
  u32 index_entries = 0;
  u32 salt = 0;

  u64& word(u64 position) const noexcept { return *static_cast<u64*>(static_cast<void*>(data + (position - begin))); }
};

// Who makes segments. Called at a roll, on the writer's thread; answers at once.
class QUOIT_EXPORT segment_supply {
 public:
  struct place {
    u64 begin;        // position of the segment's first byte of data
    u64 sequence;     // of its first frame
    u64 frame_bytes;  // the segment has room for that many, at least
  };
  // A segment that is whole and zero. `clock` is stored in it, with its own number where `first` is 0.
  virtual append_status next(const place& at, const segment_clock& clock, segment_memory& out) noexcept = 0;
  // Every frame of the segment before, which ends at `left_at`, is resolved: this is where the one with this number
  // begins.
  virtual void starts(u64 number, const log_place& place, u64 left_at) noexcept = 0;

 protected:
  ~segment_supply() = default;
};

class QUOIT_EXPORT segment_appender {
 public:
  // Goes on at `place` of a segment; what is behind it is zero. `clock` is that of the segment.
  segment_appender(const segment_geometry& geometry, segment_supply& supply, u32 claims_max,
                   const segment_memory& segment, const log_place& place, const segment_clock& clock,
                   const clock_source& source = clock_source::of_system());
  segment_appender(const segment_appender&) = delete;
  segment_appender& operator=(const segment_appender&) = delete;

  // Takes a frame of `payload_bytes`. Never blocks.
  append_status claim(u32 payload_bytes, lane_claim& out) noexcept {
    const u64 position = tail_;
    const u64 end = position + geometry_.extent(payload_bytes);
    // relaxed: leave() may set it to 0, and when that is seen does not matter
    if (unresolved_ == 0 && end + word_bytes <= load_relaxed(limit_) && payload_bytes <= geometry_.payload_bytes_max)
        [[likely]] {
      out.position = single_position_ = position;
      out.sequence = next_sequence_++;
      out.payload_bytes = single_bytes_ = payload_bytes;
      out.index = first_claim_;
      out.payload = segment_.data + (position - segment_.begin) + segment_words_bytes;
      tail_ = end;
      unresolved_ = 1;
      return append_status::ok;
    }
    return claim_slow(payload_bytes, out);
  }

  // Makes the frame visible, cut to `payload_bytes` (at most what was claimed). True if a reader can see something new.
  bool commit(const lane_claim& claim, u32 payload_bytes) noexcept {
    if (table_count_ == 0 && payload_bytes == claim.payload_bytes && unresolved_ == 1) [[likely]] {
      u64 stamp = clock_.now();
      if (stamp < last_stamp_) [[unlikely]] {
        if (stamp == 0) return commit_after_clock_was_set(claim);
        stamp = last_stamp_;
      }
      const u64 header =
          frame_header::make(payload_bytes, frame_kind::message, segment_frame_flags, claim.sequence).word;
      u64* const words = static_cast<u64*>(static_cast<void*>(claim.payload - segment_words_bytes));
      const u32 begin = crc32c_word(crc32c_word(segment_.salt, header), stamp);
      // relaxed: the release of the header orders both
      store_relaxed(words[1], stamp);
      store_relaxed(words[2], crc32c_inline(begin, claim.payload, checked_bytes(payload_bytes)));
      // sync(segment.commit): the words and the payload are whole for whoever reads this header
      store_release(words[0], header);
      last_stamp_ = stamp;
      unresolved_ = 0;
      // sync(segment.frontier): everything before is whole for whoever writes it back
      store_release(frontier_, tail_);
      if (tail_ >= index_due_) [[unlikely]]
        note_place();
      return true;
    }
    return resolve_slow(claim, payload_bytes, false);
  }

  // Gives the place up: a void frame that spends its sequence. True as for commit().
  bool abandon(const lane_claim& claim) noexcept { return resolve_slow(claim, 0, true); }

  // Open claims become void. True as for commit().
  bool close() noexcept;

  // The next claim goes to another segment: this one is not trusted any more. From any thread.
  void leave() noexcept;

  // Everything before is committed or void. From any thread.
  u64 frontier() const noexcept {
    return load_acquire(frontier_);  // sync(segment.frontier): the frames before it are whole
  }

  const segment_geometry& geometry() const noexcept { return geometry_; }
  u64 tail() const noexcept { return tail_; }
  u64 next_sequence() const noexcept { return next_sequence_; }
  u64 voids() const noexcept { return voids_; }
  u64 last_stamp() const noexcept { return last_stamp_; }
  u32 unresolved() const noexcept { return unresolved_; }
  const stamp_clock& clock() const noexcept { return clock_; }

 private:
  struct entry {
    u64* header = nullptr;
    u64 position = 0;
    u64 end = 0;
    u64 sequence = 0;
    u64 stamp = 0;
    u64 clock = 0;  // of its segment: clock_first
    u32 payload_bytes = 0;
    u32 salt = 0;
    bool claimed_stored = false;
    bool resolved = false;
    bool voided = false;
  };
  // One that the tail has left, or is in.
  struct open_segment {
    segment_memory memory;
    segment_clock clock;
    u64 left_at = ~u64{0};  // position of the skip
  };
  static constexpr u32 hidden_max = 8;

  append_status claim_slow(u32 payload_bytes, lane_claim& out) noexcept;
  append_status roll(u64 asked_to_leave, u64 extent) noexcept;
  bool resolve_slow(const lane_claim& claim, u32 payload_bytes, bool voided) noexcept;
  bool commit_after_clock_was_set(const lane_claim& claim) noexcept;
  bool commit_whole(const lane_claim& claim, u64 stamp) noexcept;
  void spill_single() noexcept;
  void show_newest_claim() noexcept;
  u64 ordered_stamp(u32 index, u64 now) const noexcept;
  const segment_clock& clock_of(const entry& e) const noexcept;
  void pop_resolved() noexcept;
  void pass_segments() noexcept;
  void note_place() noexcept;
  void set_due() noexcept;
  void enter(const segment_memory& memory, const segment_clock& clock) noexcept;
  void allow_fast_claims() noexcept;
  void add_claim(u64 position, u64 end, u64 sequence, u32 payload_bytes) noexcept;
  entry& at(u32 index) noexcept { return claims_[index & (static_cast<u32>(claims_.size()) - 1)]; }
  const entry& at(u32 index) const noexcept { return claims_[index & (static_cast<u32>(claims_.size()) - 1)]; }

  // Set once.
  segment_geometry geometry_;  // of the largest segments
  segment_supply& supply_;
  u32 claims_max_;
  bool slow_only_;  // no instruction for the check: every claim goes through the table

  // The writer's.
  segment_memory segment_;  // of the tail
  u64 tail_;
  u64 end_ = 0;        // of the segment
  u64 index_due_ = 0;  // a frontier from here on has a place to note
  u64 next_sequence_;
  u64 voids_;
  u64 last_stamp_;
  u64 single_position_ = 0;
  u32 single_bytes_ = 0;
  u32 unresolved_ = 0;
  u32 first_claim_ = 0;
  u32 table_count_ = 0;
  stamp_clock clock_;
  std::vector<entry> claims_;
  open_segment segments_[hidden_max];  // of the frontier, to that of the tail
  u32 segment_count_ = 0;
  u64 left_count_ = 0;

  // Read by who writes back.
  alignas(line_pair_bytes) u64 frontier_;
  // Written by it, when something went wrong.
  alignas(line_pair_bytes) u64 limit_ = 0;
  u64 leave_ = 0;
};

}  // namespace quoit::inline v1::detail
