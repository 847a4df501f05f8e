// The writing side of a lane: one thread of one process, or its adopter after its death.
//
// A claim takes a place at the tail; committing it stores its header and makes it visible; readers see
// frames in the order in which they were claimed. The writer keeps its cursors here, in private memory, and
// never reads back what it stored. docs/design/lane.md has the rules (A1 to A15) that comments name.
//
// Invariants: [tail, tail + 8) is reserved, held by nobody and zero (A1). Every stride from the tail's to
// `limit_` is reserved by us and held by nobody. Frames before `frontier_` are committed, void or skipped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "quoit/detail/export.hpp"
#include "quoit/detail/lane_layout.hpp"

namespace quoit::inline v1::detail {

enum class claim_status : u8 {
  ok,
  would_block,  // readers, or claims of our own that are not resolved, are in the way
  too_large,    // more than payload_bytes_max
  too_many,     // as many claims as the table holds are unresolved
  timed_out,    // never said by a lane, but by who waits for one: space did not come in time
  no_space,     // of a lane on disk: the next file of it could not be made
  interrupted,  // as timed_out: bus::interrupt()
};

// A frame that was claimed and is neither committed nor abandoned.
struct lane_claim {
  u64 position = 0;
  u64 sequence = 0;
  u32 payload_bytes = 0;
  u32 index = 0;  // in the table of claims
  std::byte* payload = nullptr;
};

inline constexpr u32 no_slot = ~u32{0};

struct lane_refusal {
  u32 slot = no_slot;      // the subscription that is furthest behind, or holds the most strides, if there is one
  bool by_reader = false;  // false: our own oldest claim is in the way
};

class QUOIT_EXPORT lane_writer {
 public:
  // Starts a lane: the memory is zero but for the header, and nobody writes it.
  lane_writer(const lane_memory& memory, const lane_geometry& geometry, u32 claims_max);

  struct adopt_tag {};
  // Takes over the lane of a publisher that is dead; adopt() comes before anything else.
  lane_writer(adopt_tag, const lane_memory& memory, const lane_geometry& geometry, u32 claims_max);

  // Goes on at the end of the dead publisher's lane: what it had claimed becomes void (A12). False: what is
  // there is no lane, and nothing may be written.
  bool adopt() noexcept;

  // Takes a frame of `payload_bytes`. Never blocks.
  claim_status claim(u32 payload_bytes, lane_claim& out) noexcept {
    const u64 position = tail_;
    const u64 end = position + geometry_.extent(payload_bytes);
    if (unresolved_ == 0 && end + word_bytes <= limit_ && payload_bytes <= geometry_.payload_bytes_max) [[likely]] {
      take(position, end, payload_bytes, out);
      return claim_status::ok;
    }
    return claim_slow(payload_bytes, out);
  }

  // Makes the frame visible, cut to `payload_bytes` (at most what was claimed). `stamp`, CLOCK_REALTIME in
  // ns, is used where the lane stamps. True if a reader can see something new now: the caller fences and
  // looks for sleepers.
  bool commit(const lane_claim& claim, u32 payload_bytes, u64 stamp = 0) noexcept {
    if (table_count_ == 0 && claim.position + geometry_.extent(payload_bytes) == tail_ && geometry_.flags == 0)
        [[likely]] {
      // sync(lane.commit): payload, and the zero behind the frame, are whole for whoever reads this header
      store_release(header(claim.position),
                    frame_header::make(payload_bytes, frame_kind::message, 0, claim.sequence).word);
      frontier_ = tail_;
      unresolved_ = 0;
      payload_total_ += payload_bytes;
      if (tail_ >= checkpoint_due_) [[unlikely]]
        note_place(tail_, next_sequence_);
      count();
      return true;
    }
    return resolve_slow(claim, payload_bytes, frame_kind::message, stamp);
  }

  // Gives the place up: a void frame that spends its sequence. True as for commit().
  bool abandon(const lane_claim& claim) noexcept { return resolve_slow(claim, 0, frame_kind::voided, 0); }

  // No more frames: open claims become void, and readers learn that this is the end. True as for commit().
  bool close() noexcept;

  // For a lane that somebody else's messages are copied into: the newest claim, which is the only one, has its sequence
  // n higher. Its reader is told by lane_reader::step_sequence().
  void step_sequence(lane_claim& claim, u64 n) noexcept {
    claim.sequence += n;
    next_sequence_ += n;
    if (table_count_ != 0) at(claim.index).sequence += n;  // a claim behind the ring's end is in the table at once
  }

  // Who was in the way when claim() last said would_block.
  const lane_refusal& refusal() const noexcept { return refusal_; }

  // True if a claim of `payload_bytes` that was refused could be granted now. For waiting: the caller
  // announces itself in `waiting`, fences, asks this, and sleeps on false (C2).
  bool would_grant(u32 payload_bytes) noexcept;

  // Makes room for a claim like the last one, while nobody waits for it: reserves, and fetches the lines that the claim
  // will write. Worth it from `prepare_bytes()` of payload on, where nearly each claim begins a stride of its own.
  void prepare(u32 payload_bytes) noexcept;
  u32 prepare_bytes() const noexcept { return static_cast<u32>(geometry_.stride_bytes / 4); }

  const lane_geometry& geometry() const noexcept { return geometry_; }
  const lane_memory& memory() const noexcept { return memory_; }
  u64 next_sequence() const noexcept { return next_sequence_; }
  u64 tail() const noexcept { return tail_; }
  u32 unresolved() const noexcept { return unresolved_; }
  void add_wakes(u64 n) noexcept;

 private:
  struct entry {
    u64 before;  // of the skip in front of the frame, or the frame's own position
    u64 position;
    u64 end;
    u64 sequence;
    u64 stamp;
    u32 payload_bytes;
    bool claimed_stored;  // its header says `claimed`; until a newer claim comes it says 0
    bool resolved;
    bool voided;
  };
  struct slots_seen {
    u64 held;  // strides that some lossy reader may be reading
    u64 wall;  // position of the slowest reliable reader
  };
  static constexpr u64 no_wall = ~u64{0};

  u64& header(u64 position) const noexcept { return memory_.word(geometry_.offset(position)); }

  // The newest claim is not written into the table, nor its header into the ring, until a newer one comes:
  // a reader that spins on that header would pay for it (docs/decisions/0002-late-claims.md).
  void take(u64 position, u64 end, u32 payload_bytes, lane_claim& out) noexcept {
    // relaxed: the release of the header that makes this word reachable orders it
    QUOIT_RULE(A10_zero_behind) store_relaxed(header(end), 0);
    out.position = position;
    out.sequence = next_sequence_++;
    out.payload_bytes = payload_bytes;
    out.index = first_claim_;
    out.payload = memory_.data + geometry_.offset(position) + payload_offset_;
    single_payload_bytes_ = payload_bytes;
    tail_ = end;
    unresolved_ = 1;
  }
  void count() noexcept {
    // relaxed: counters and a hint, each checked by whoever uses it
    store_relaxed(memory_.head->committed, frontier_);
    store_relaxed(memory_.head->published, next_sequence_ - unresolved_);  // relaxed: as above
    store_relaxed(memory_.head->payload_bytes, payload_total_);            // relaxed: as above
  }

  claim_status claim_slow(u32 payload_bytes, lane_claim& out) noexcept;
  bool resolve_slow(const lane_claim& claim, u32 payload_bytes, frame_kind kind, u64 stamp) noexcept;
  bool find_place(u64 extent, u64& place) noexcept;
  bool reserve_next() noexcept;
  slots_seen look_at_slots() const noexcept;
  void verify_reserved(const slots_seen& seen) noexcept;
  void verify(u64 stride, const slots_seen& seen) noexcept;
  void set_limit() noexcept;
  void pop_resolved() noexcept;
  void note_place(u64 position, u64 sequence) noexcept;
  void spill_single() noexcept;
  void name_refusal() noexcept;
  u64 ordered_stamp(u32 index, u64 stamp) noexcept;
  entry& at(u32 index) noexcept { return claims_[index % claims_.size()]; }
  u64 stride_bit(u64 stride) const noexcept { return u64{1} << (stride & (geometry_.strides - 1)); }

  lane_memory memory_;
  lane_geometry geometry_;
  u64 payload_offset_;

  // The fast path.
  u64 tail_ = 0;   // where the next frame goes
  u64 limit_ = 0;  // a frame and the word behind it may end here without another look
  u64 next_sequence_ = 0;
  u64 frontier_ = 0;        // everything before is resolved; the oldest unresolved claim begins here
  u64 checkpoint_due_ = 0;  // a frontier here or further begins a stride that has no checkpoint yet
  u64 payload_total_ = 0;
  u32 unresolved_ = 0;   // claims behind the frontier
  u32 table_count_ = 0;  // of them in the table: all, or none if there is just one
  u32 first_claim_ = 0;  // index of the oldest
  u32 single_payload_bytes_ = 0;

  // The slow path.
  u64 reserved_ = 0;    // what the header says
  u64 verified_ = 0;    // bit per stride of [tail, reserved): nobody holds it, and it is behind no wall
  u64 walled_ = 0;      // not verified because of a wall: not to be stepped over
  u64 wall_ = no_wall;  // as last seen; walls only grow, but for readers that come, and those check
  u64 voids_ = 0;       // void frames before the frontier
  u64 last_stamp_ = 0;
  u64 refused_ = 0;
  u64 wakes_ = 0;
  lane_refusal refusal_{};
  std::vector<entry> claims_;
};

}  // namespace quoit::inline v1::detail
