#include "quoit/detail/lane_writer.hpp"

#include <algorithm>
#include <bit>

#include "quoit/detail/stamp_clock.hpp"

namespace quoit::inline v1::detail {

lane_writer::lane_writer(adopt_tag, const lane_memory& memory, const lane_geometry& geometry, u32 claims_max)
    : memory_(memory),
      geometry_(geometry),
      payload_offset_(payload_offset(geometry.flags)),
      claims_(std::max(claims_max, 1u)) {}

lane_writer::lane_writer(const lane_memory& memory, const lane_geometry& geometry, u32 claims_max)
    : lane_writer(adopt_tag{}, memory, geometry, claims_max) {
  reserve_next();
  checkpoint_due_ = geometry_.stride_bytes;  // the zeroes of checkpoint 0 say: position 0, sequence 0
  set_limit();
  // sync(lane.state): the empty lane is whole for whoever reads `open`
  store_release(memory_.slot_table->state, static_cast<u64>(lane_state::open));
}

// ---- claiming ------------------------------------------------------------------------------------------

claim_status lane_writer::claim_slow(u32 payload_bytes, lane_claim& out) noexcept {
  if (payload_bytes > geometry_.payload_bytes_max) return claim_status::too_large;
  if (unresolved_ >= claims_.size()) return claim_status::too_many;
  const u64 extent = geometry_.extent(payload_bytes);
  u64 place = 0;
  if (!find_place(extent, place)) {
    name_refusal();
    store_relaxed(memory_.head->refused, ++refused_);  // relaxed: a counter
    return claim_status::would_block;
  }
  if (unresolved_ == 0 && place == tail_) {
    take(place, place + extent, payload_bytes, out);
    set_limit();
    return claim_status::ok;
  }
  if (unresolved_ > 0) {
    spill_single();
    // Before a newer claim is made, the one that was the newest must be found by whoever cleans up after us.
    entry& newest = at(first_claim_ + table_count_ - 1);
    if (!newest.claimed_stored && !newest.resolved) {
      // sync(lane.commit): the zero, or the next claim, behind this frame is there for whoever reads `claimed`
      store_release(
          header(newest.position),
          frame_header::make(newest.payload_bytes, frame_kind::claimed, geometry_.flags, newest.sequence).word);
      newest.claimed_stored = true;
    }
  }
  const u64 before = tail_;
  take(place, place + extent, payload_bytes, out);
  if (place != before) {
    // relaxed: the release of the skip orders it
    QUOIT_RULE(A10_zero_behind) store_relaxed(header(place), 0);
    const u64 span = place - before - word_bytes;
    // sync(lane.commit): the header behind the skip is zero for whoever reads the skip
    store_release(header(before), frame_header::make(static_cast<u32>(span), frame_kind::skip, 0, 0).word);
  }
  out.index = first_claim_ + table_count_;
  at(out.index) = {before, place, place + extent, out.sequence, 0, payload_bytes, false, false, false};
  unresolved_ = ++table_count_;
  set_limit();
  return claim_status::ok;
}

void lane_writer::spill_single() noexcept {
  if (table_count_ != 0) return;
  at(first_claim_) = {frontier_, frontier_, tail_, next_sequence_ - 1, 0, single_payload_bytes_, false, false, false};
  table_count_ = 1;
}

// A claim at q needs [q, q + extent + 8) reserved and held by nobody (A1), on one side of the ring's end.
// Held strides are stepped over; a wall is not.
bool lane_writer::find_place(u64 extent, u64& place) noexcept {
  const u64 behind = QUOIT_RULE_ON(A1_word_behind) ? word_bytes : 0;
  u64 candidate = tail_;
  bool looked = false;
  for (;;) {
    if (candidate + extent > geometry_.lap_end(candidate)) candidate = geometry_.lap_end(candidate);
    const u64 need = candidate + extent + behind;
    bool moved = false;
    for (u64 stride = geometry_.stride_of(candidate); (stride << geometry_.stride_shift) < need; ++stride) {
      // More than one, where the end of the ring was stepped over.
      while (((stride + 1) << geometry_.stride_shift) > reserved_) {
        if (!reserve_next()) return false;
      }
      if ((verified_ & stride_bit(stride)) != 0) continue;
      if (!looked) {
        // What was held or walled at an earlier attempt may be free now (A3, A15).
        verify_reserved(look_at_slots());
        looked = true;
      }
      if ((verified_ & stride_bit(stride)) != 0) continue;
      if ((walled_ & stride_bit(stride)) != 0) return false;
      candidate = (stride + 1) << geometry_.stride_shift;
      moved = true;
      break;
    }
    if (!moved) break;
  }
  place = candidate;
  return true;
}

// Reserves one more stride and asks the slots who is in it (A3). False: not even that is possible.
bool lane_writer::reserve_next() noexcept {
  const u64 next = reserved_ + geometry_.stride_bytes;
  // A writer does not lap its own claims, nor its own tail (A6).
  const u64 own = QUOIT_RULE_ON(A6_own_claims) ? frontier_ : tail_;
  if (next > geometry_.stride_begin(own) + geometry_.ring_bytes) return false;
  if (wall_ != no_wall && next > wall_ + geometry_.ring_bytes) {
    wall_ = look_at_slots().wall;
    if (wall_ != no_wall && next > wall_ + geometry_.ring_bytes) return false;
  }
  reserved_ = next;
  // relaxed: the fence orders it before the scan; a reader stores its slot, fences, and loads it
  store_relaxed(memory_.head->reserved, next);
  // sync(lane.reserve): either this scan sees a reader's slot, or that reader sees this reservation
  QUOIT_RULE(A3_writer_fence) full_fence();
  const slots_seen seen = look_at_slots();
  wall_ = seen.wall;
  verify(geometry_.stride_of(next) - 1, seen);
  return true;
}

lane_writer::slots_seen lane_writer::look_at_slots() const noexcept {
  slots_seen seen{0, no_wall};
  for (u32 base = 0; base < geometry_.subscriptions; base += 64) {
    // sync(lane.active): a slot that became active holds its place already
    u64 reliable = load_acquire(memory_.slot_table->reliable_active[base / 64]);
    for (; reliable != 0; reliable &= reliable - 1) {
      const u32 slot = base + static_cast<u32>(std::countr_zero(reliable));
      if (slot >= geometry_.subscriptions) break;
      // sync(lane.release): the reader's loads of what it gave up come before our stores there
      const u64 place = load_acquire(memory_.slot_table->slot[slot].place);
      // Too low for any check to have passed: its owner will see that and take a newer place (A4).
      if (place + geometry_.ring_bytes + geometry_.stride_bytes < reserved_) continue;
      seen.wall = std::min(seen.wall, std::min(place, tail_));
    }
    // sync(lane.active): as above
    u64 lossy = load_acquire(memory_.slot_table->lossy_active[base / 64]);
    for (; lossy != 0; lossy &= lossy - 1) {
      const u32 slot = base + static_cast<u32>(std::countr_zero(lossy));
      if (slot >= geometry_.subscriptions) break;
      // sync(lane.release): as above
      seen.held |= load_acquire(memory_.slot_table->slot[slot].place);
    }
  }
  return seen;
}

void lane_writer::verify_reserved(const slots_seen& seen) noexcept {
  const u64 end = geometry_.stride_of(reserved_);
  for (u64 stride = geometry_.stride_of(tail_); stride < end; ++stride) {
    // What was verified in this lap stays so: a reader that comes to it now reads this lap's frames.
    if ((verified_ & stride_bit(stride)) == 0) verify(stride, seen);
  }
}

void lane_writer::verify(u64 stride, const slots_seen& seen) noexcept {
  const u64 bit = stride_bit(stride);
  const u64 end = (stride + 1) << geometry_.stride_shift;
  const bool walled = QUOIT_RULE_ON(A3_walls) && seen.wall != no_wall && end > seen.wall + geometry_.ring_bytes;
  const bool held = QUOIT_RULE_ON(A3_masks) && (seen.held & bit) != 0;
  walled_ = walled ? walled_ | bit : walled_ & ~bit;
  verified_ = walled || held ? verified_ & ~bit : verified_ | bit;
}

void lane_writer::set_limit() noexcept {
  u64 end = geometry_.stride_begin(tail_);
  while (end < reserved_ && (verified_ & stride_bit(geometry_.stride_of(end))) != 0) {
    end += geometry_.stride_bytes;
  }
  limit_ = std::min(end, geometry_.lap_end(tail_));
}

bool lane_writer::would_grant(u32 payload_bytes) noexcept {
  u64 place = 0;
  if (payload_bytes > geometry_.payload_bytes_max || unresolved_ >= claims_.size()) return true;
  const bool found = find_place(geometry_.extent(payload_bytes), place);
  if (found) set_limit();
  return found;
}

void lane_writer::prepare(u32 payload_bytes) noexcept {
  const u64 extent = geometry_.extent(payload_bytes);
  u64 place = 0;
  if (unresolved_ != 0 || !find_place(extent, place)) return;
  set_limit();
  __builtin_prefetch(&header(place), 1);
  __builtin_prefetch(&header(place + extent), 1);
}

void lane_writer::name_refusal() noexcept {
  refusal_ = {};
  int most = 0;
  u64 lowest = no_wall;
  for (u32 slot = 0; slot < geometry_.subscriptions; ++slot) {
    const u64 bit = u64{1} << (slot % 64);
    // sync(lane.active), sync(lane.release): as in look_at_slots
    const bool wall = (load_acquire(memory_.slot_table->reliable_active[slot / 64]) & bit) != 0;
    const bool mask = (load_acquire(memory_.slot_table->lossy_active[slot / 64]) & bit) != 0;
    if (!wall && !mask) continue;
    // relaxed: only a name in a message depends on it
    const u64 place = load_relaxed(memory_.slot_table->slot[slot].place);
    if (wall && place < lowest && reserved_ + geometry_.stride_bytes > place + geometry_.ring_bytes) {
      lowest = place;
      refusal_ = {slot, true};
    }
    if (mask && lowest == no_wall && std::popcount(place) > most) {
      most = std::popcount(place);
      refusal_ = {slot, true};
    }
  }
  // A claim is refused for our own sake only where A6 forbids the next stride. Otherwise it was a reader, also if it
  // has moved on since and nobody is in the way any more.
  const bool own =
      unresolved_ > 0 && reserved_ + geometry_.stride_bytes > geometry_.stride_begin(frontier_) + geometry_.ring_bytes;
  if (!own) {
    refusal_.by_reader = true;
  } else if ((lowest == no_wall || frontier_ <= lowest) && most * 2 < static_cast<int>(geometry_.strides)) {
    // Our own oldest claim is further behind than any wall.
    refusal_ = {};
  }
}

// ---- resolving -----------------------------------------------------------------------------------------

bool lane_writer::resolve_slow(const lane_claim& claim, u32 payload_bytes, frame_kind kind, u64 stamp) noexcept {
  spill_single();
  entry& e = at(claim.index);
  const bool newest = e.end == tail_;
  if (kind == frame_kind::voided && !newest) payload_bytes = e.payload_bytes;
  const u64 end = e.position + geometry_.extent(payload_bytes);
  if (end < e.end) {
    if (newest) {
      // relaxed: the release of this frame's header, below, orders it
      QUOIT_RULE(A10_zero_behind) store_relaxed(header(end), 0);
      tail_ = e.end = end;
    } else {
      const u64 rest = e.end - end - word_bytes;
      // relaxed: as above
      store_relaxed(header(end), frame_header::make(static_cast<u32>(rest), frame_kind::skip, 0, 0).word);
    }
  }
  if ((geometry_.flags & frame_stamped) != 0) {
    e.stamp = ordered_stamp(claim.index, stamp);
    // relaxed: as above
    store_relaxed(header(e.position + word_bytes), e.stamp);
  }
  // sync(lane.commit): payload, words and what is behind the frame are whole for whoever reads this header
  store_release(header(e.position), frame_header::make(payload_bytes, kind, geometry_.flags, e.sequence).word);
  e.resolved = true;
  e.voided = kind == frame_kind::voided;
  if (!e.voided) payload_total_ += payload_bytes;
  const bool visible = claim.index == first_claim_;
  if (visible) pop_resolved();
  count();
  set_limit();
  return visible;
}

// A stamp is not below that of the frame before, and claims may be resolved in any order. A clock that is set back is
// followed.
u64 lane_writer::ordered_stamp(u32 index, u64 stamp) noexcept {
  u64 before = last_stamp_;
  for (u32 i = first_claim_; i != index; ++i) {
    if (at(i).resolved) before = at(i).stamp;
  }
  // Of a frame that is given up there is none.
  u64 result = stamp == 0 || (stamp < before && before - stamp < clock_step_ns) ? before : stamp;
  for (u32 i = index + 1; i < first_claim_ + table_count_; ++i) {
    if (at(i).resolved) result = std::min(result, at(i).stamp);
  }
  return result;
}

void lane_writer::pop_resolved() noexcept {
  while (table_count_ > 0 && at(first_claim_).resolved) {
    const entry& e = at(first_claim_);
    // The skip in front of it was resolved when it was stored.
    if (e.before != e.position) note_place(e.position, e.sequence);
    if (e.voided) QUOIT_RULE(A8_voids_are_not_lost)++ voids_;
    last_stamp_ = e.stamp;
    frontier_ = e.end;
    ++first_claim_;
    --table_count_;
    --unresolved_;
    note_place(frontier_, e.sequence + 1);
  }
  store_relaxed(memory_.head->voids, voids_);  // relaxed: a counter
}

// Writes the checkpoint of a stride at its first place, once everything before is resolved (A5).
void lane_writer::note_place(u64 position, u64 sequence) noexcept {
  if (position < checkpoint_due_) return;
  checkpoint_due_ = geometry_.stride_begin(position) + geometry_.stride_bytes;
  lane_checkpoint& record = memory_.head->checkpoints[geometry_.stride_of(position) & (geometry_.strides - 1)];
  // sync(lane.checkpoint): `position` last: its release orders both for a reader, who loads it first
  if (!QUOIT_RULE_ON(A5_position_last)) store_release(record.position, position);
  store_relaxed(record.sequence, sequence);  // relaxed: the release of `position` orders both
  store_relaxed(record.voids, voids_);       // relaxed: as above
  // sync(lane.checkpoint): sequence and voids belong to the position that a reader loads first
  store_release(record.position, position);
}

bool lane_writer::close() noexcept {
  bool visible = false;
  while (unresolved_ > 0) {
    spill_single();
    // The newest first: each then gives its whole place back.
    lane_claim claim;
    u32 index = first_claim_ + table_count_ - 1;
    while (at(index).resolved) --index;
    claim.index = index;
    visible = resolve_slow(claim, 0, frame_kind::voided, 0) || visible;
  }
  // sync(lane.state): every frame of this lane is whole for whoever reads `closed`
  store_release(memory_.slot_table->state, static_cast<u64>(lane_state::closed));
  limit_ = 0;
  return visible;
}

void lane_writer::add_wakes(u64 n) noexcept {
  wakes_ += n;
  store_relaxed(memory_.head->wakes, wakes_);  // relaxed: a counter
}

// ---- adoption ------------------------------------------------------------------------------------------

bool lane_writer::adopt() noexcept {
  // relaxed: its writer is dead; whoever took its byte has a lock between that death and us
  reserved_ = load_relaxed(memory_.head->reserved);
  if (reserved_ < geometry_.stride_bytes || reserved_ % geometry_.stride_bytes != 0) return false;
  lane_checkpoint from{};
  bool found = false;
  for (u32 i = 0; i < geometry_.strides; ++i) {
    const lane_checkpoint& record = memory_.head->checkpoints[i];
    // sync(lane.checkpoint): as the reader
    const u64 position = load_acquire(record.position);
    const bool whole = position < reserved_ && position + geometry_.ring_bytes >= reserved_ &&
                       position % geometry_.alignment == 0 &&
                       (geometry_.stride_of(position) & (geometry_.strides - 1)) == i;
    if (!whole || (found && position < from.position)) continue;
    found = true;
    // relaxed: ordered by the acquire of the position
    from = {load_relaxed(record.sequence), load_relaxed(record.voids), position, 0};
  }
  if (!found) return false;

  u64 position = from.position;
  u64 sequence = from.sequence;
  voids_ = from.voids;
  checkpoint_due_ = geometry_.stride_begin(position) + geometry_.stride_bytes;
  for (;;) {
    QUOIT_RULE(A12_checkpoints) note_place(position, sequence);
    // sync(lane.commit): what lies behind a frame is whole
    const frame_header h{load_acquire(header(position))};
    if (h.word == 0) break;
    const bool skip = h.is(frame_kind::skip);
    const u64 length = skip ? u64{h.payload_bytes()} + word_bytes : geometry_.extent(h.payload_bytes());
    const bool known = skip || h.is(frame_kind::message) || h.is(frame_kind::voided) || h.is(frame_kind::claimed);
    const bool fits = length % geometry_.alignment == 0 && position + length + word_bytes <= reserved_ &&
                      (skip || (position + length <= geometry_.lap_end(position) &&
                                h.sequence_low() == (sequence & sequence_low_mask)));
    if (!known || !fits) return false;
    if (h.is(frame_kind::claimed)) {
      QUOIT_RULE(A12_void_claims) {
        // sync(lane.commit): a reader may step over it
        store_release(header(position),
                      frame_header::make(h.payload_bytes(), frame_kind::voided, geometry_.flags, sequence).word);
      }
    }
    if (h.is(frame_kind::voided) || h.is(frame_kind::claimed)) ++voids_;
    if ((geometry_.flags & frame_stamped) != 0 && h.is(frame_kind::message)) {
      last_stamp_ = load_relaxed(header(position + word_bytes));  // relaxed: no writer
    }
    if (!skip) ++sequence;
    position += length;
  }
  tail_ = frontier_ = position;
  next_sequence_ = sequence;
  payload_total_ = load_relaxed(memory_.head->payload_bytes);  // relaxed: its writer is dead
  // sync(lane.reserve): readers that pinned since the dead writer last looked are seen now, or see `reserved`
  QUOIT_RULE(A12_scan) full_fence();
  verified_ = stride_bit(geometry_.stride_of(tail_));  // the dead writer's claim made sure of it (A1)
  QUOIT_RULE(A12_scan) verify_reserved(look_at_slots());
  if (!QUOIT_RULE_ON(A12_scan)) verified_ = ~u64{0};
  wall_ = 0;  // unknown: the next reservation looks first
  set_limit();
  count();
  // sync(lane.state): the claims of the dead are void for whoever reads `open`, and ours come after it
  QUOIT_RULE(A12_open_first) store_release(memory_.slot_table->state, static_cast<u64>(lane_state::open));
  return true;
}

}  // namespace quoit::inline v1::detail
