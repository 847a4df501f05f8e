#include "quoit/detail/lane_reader.hpp"

#include <algorithm>

#include "ring/waiting_writer.hpp"

namespace quoit::inline v1::detail {

namespace {
// A writer that laps a reader between two of its instructions this often is no writer.
constexpr u32 start_attempts_max = 1000;
}  // namespace

lane_reader::lane_reader(const lane_memory& memory, const lane_geometry& geometry, u32 slot, reading how, u32 held_max,
                         lane_poke poke)
    : memory_(memory),
      geometry_(geometry),
      place_(how == reading::observing ? &own_place_ : &memory.slot_table->slot[slot].place),
      held_max_(std::max(held_max, 1u)),
      mode_(how),
      slot_(slot),
      poke_(poke),
      held_storage_(held_max_),
      copies_(how == reading::observing ? held_max_ : 0) {
  held_ = held_storage_.data();
}

// ---- taking --------------------------------------------------------------------------------------------

take_status lane_reader::take_slow(lane_frame& out) noexcept {
  if (held_count_ >= held_max_) return take_status::too_many;
  for (;;) {
    if (resync_due_) {
      const take_status status = resync();
      if (status != take_status::message) return status;
    }
    if (position_ >= safe_end_) {
      if (mode_ == reading::reliable) {
        safe_end_ = geometry_.lap_end(position_);
      } else if (!cover(position_, position_ + 1, position_)) {
        resync_due_ = true;
        if (mode_ == reading::observing) return take_status::nothing;  // what was stepped over is not believed yet
        continue;
      }
    }
    // sync(lane.commit): as in take()
    const frame_header h{load_acquire(memory_.word(geometry_.offset(position_)))};
    if (h.word == 0) {
      const take_status status = at_end(false, 0);
      if (status == take_status::message) continue;
      return status;
    }
    if ((h.flags() & ~frame_flags_known) != 0) return take_status::newer_version;
    if (h.is(frame_kind::skip)) {
      if (!step_over(u64{h.payload_bytes()} + word_bytes, false)) return take_status::corrupt;
      continue;
    }
    if (h.kind_bits() > static_cast<u8>(frame_kind::skip)) {
      // A kind that a later version knows: its size is all we need.
      const u64 length = align_up(payload_offset(h.flags()) + h.payload_bytes(), geometry_.alignment);
      if (!step_over(length, false)) return take_status::corrupt;
      continue;
    }
    const u64 end = position_ + geometry_.extent(h.payload_bytes());
    if (h.kind_bits() == 0 || h.flags() != geometry_.flags || end > geometry_.lap_end(position_) ||
        h.payload_bytes() > geometry_.payload_bytes_max || h.sequence_low() != (sequence_ & sequence_low_mask)) {
      return take_status::corrupt;
    }
    if (h.is(frame_kind::claimed)) {
      const take_status status = at_end(true, h.payload_bytes());
      if (status == take_status::message) continue;
      return status;
    }
    if (h.is(frame_kind::voided)) {
      ++voids_;
      if (!step_over(end - position_, true)) return take_status::corrupt;
      continue;
    }
    if (end > safe_end_ && !cover(position_, end, safe_end_)) {
      // The stride where it begins is ours, the one where it ends was reserved before we covered it.
      resync_due_ = true;
      if (mode_ == reading::observing) return take_status::nothing;
      continue;
    }
    fill(h, out);
    held_[held_count_++] = {position_, end};
    position_ = end;
    ++sequence_;
    if (mode_ != reading::reliable) pinned_begin_ = geometry_.stride_begin(std::min(position_, safe_end_ - 1));
    return take_status::message;
  }
}

// At a header that is 0 or `claimed`: the end, unless the lane was closed by somebody else after its
// publisher's death (A11). `message` means: look again.
take_status lane_reader::at_end(bool claimed, u32 claimed_bytes) noexcept {
  look_at_state();
  if (!closed_) return take_status::nothing;
  // The publisher may have committed between our load of the header and its death.
  // sync(lane.commit): as in take()
  const frame_header again{load_acquire(memory_.word(geometry_.offset(position_)))};
  const bool still_claimed = QUOIT_RULE_ON(A11_second_load) ? again.is(frame_kind::claimed) : claimed;
  if (still_claimed && claimed) {
    ++voids_;
    return step_over(geometry_.extent(claimed_bytes), true) ? take_status::message : take_status::corrupt;
  }
  if (again.word != 0) return take_status::message;
  return take_status::drained;
}

void lane_reader::look_at_state() noexcept {
  // sync(lane.state): every frame that the lane will ever have is whole for whoever reads `closed`
  closed_ = load_acquire(memory_.slot_table->state) != static_cast<u64>(lane_state::open);
}

bool lane_reader::step_over(u64 length, bool spends_sequence) noexcept {
  if (length > geometry_.ring_bytes || length % geometry_.alignment != 0) return false;
  position_ += length;
  if (spends_sequence) ++sequence_;
  if (mode_ == reading::reliable) safe_end_ = geometry_.lap_end(position_);
  if (held_count_ == 0) move_slot();
  return true;
}

bool lane_reader::ready() noexcept {
  if (resync_due_ || closed_) return true;
  if (position_ >= safe_end_) {
    if (mode_ == reading::reliable) {
      safe_end_ = geometry_.lap_end(position_);
    } else if (!cover(position_, position_ + 1, position_)) {
      resync_due_ = true;
      return true;
    }
  }
  // sync(lane.commit): as in take(), which will look again
  const frame_header h{load_acquire(memory_.word(geometry_.offset(position_)))};
  return h.word != 0 && !h.is(frame_kind::claimed);
}

bool lane_reader::drained() noexcept {
  look_at_state();
  if (!closed_ || resync_due_ || position_ >= safe_end_) return false;
  // sync(lane.commit): as in take(); nothing is taken here
  return load_acquire(memory_.word(geometry_.offset(position_))) == 0 && !overtaken_at(position_);
}

// ---- the slot ------------------------------------------------------------------------------------------

u64 lane_reader::stride_bits(u64 begin, u64 end) const noexcept {
  u64 bits = 0;
  for (u64 at = geometry_.stride_begin(begin); at < end; at += geometry_.stride_bytes) bits |= geometry_.bit(at);
  return bits;
}

u64 lane_reader::held_strides() const noexcept {
  u64 bits = 0;
  for (u32 i = 0; i < held_count_; ++i) bits |= stride_bits(held_[i].begin, held_[i].end);
  return bits;
}

u64 lane_reader::oldest_needed() const noexcept {
  u64 oldest = position_;
  for (u32 i = 0; i < held_count_; ++i) oldest = std::min(oldest, held_[i].begin);
  return oldest;
}

// Lossy: covers the strides of [begin, end) and of what is held, and then asks whether the writer had
// reserved the stride of `check` again before it could see that (A2). True: the strides stay whole.
bool lane_reader::cover(u64 begin, u64 end, u64 check) noexcept {
  // sync(lane.release): our loads of what we no longer cover come before the writer's stores there
  store_release(*place_, held_strides() | stride_bits(begin, end));
  // sync(lane.reserve): either the writer's scan sees this slot, or we see its reservation
  QUOIT_RULE(A2_reader_fence) full_fence();
  poke_waiting_writer();
  // Of an observer this is a first look only: it asks again when it has copied.
  if (QUOIT_RULE_ON(A2_check) && !still_reserved_for_us(check)) return false;
  pinned_begin_ = geometry_.stride_begin(begin);
  safe_end_ = geometry_.stride_begin(end - 1) + geometry_.stride_bytes;
  return true;
}

bool lane_reader::still_reserved_for_us(u64 position) const noexcept {
  // relaxed: ordered by the fence behind the store of our slot
  const u64 reserved = load_relaxed(memory_.head->reserved);
  return reserved <= geometry_.stride_begin(position) + geometry_.ring_bytes;
}

void lane_reader::move_slot() noexcept {
  if (mode_ == reading::reliable) {
    const u64 place = oldest_needed();
    // sync(lane.release): our loads of what we no longer need come before the writer's stores there
    store_release(*place_, place);
    if (place < stride_end_) return;
    stride_end_ = geometry_.stride_begin(place) + geometry_.stride_bytes;
  } else {
    const u64 next = position_ < safe_end_ && !resync_due_ ? stride_bits(position_, position_ + 1) : 0;
    if (next != 0) pinned_begin_ = geometry_.stride_begin(position_);
    // sync(lane.release): as above
    store_release(*place_, held_strides() | next);
  }
  // sync(lane.waiting): either we see the writer's `waiting`, or its scan sees our slot
  QUOIT_RULE(C1_reader_fence) full_fence();
  poke_waiting_writer();
  count();
}

// After a fence that follows the store of our slot (C1).
void lane_reader::poke_waiting_writer() noexcept {
  if (mode_ == reading::observing) return;
  if (take_waiting(*memory_.slot_table) && poke_.call != nullptr) poke_.call(poke_.context);
}

void lane_reader::release_slow(const lane_frame& frame) noexcept {
  for (message_copy& copy : copies_) {
    if (copy.bytes != frame.payload) continue;
    copy.held = false;
    return;
  }
  for (u32 i = 0; i < held_count_; ++i) {
    if (held_[i].begin != frame.position) continue;
    held_[i] = held_[--held_count_];
    QUOIT_RULE(C3_oldest_moves) move_slot();
    return;
  }
}

void lane_reader::set_active(u64 place) noexcept {
  // sync(lane.release): the place is there for whoever sees the slot active
  store_release(*place_, place);
  active_ = true;
  if (mode_ == reading::observing) return;
  u64* const words =
      mode_ == reading::reliable ? memory_.slot_table->reliable_active : memory_.slot_table->lossy_active;
  // sync(lane.active): as above
  fetch_or(words[slot_ / 64], u64{1} << (slot_ % 64));
}

void lane_reader::stop() noexcept {
  if (!active_) return;
  active_ = false;
  if (mode_ == reading::observing) return;
  count();
  u64* const words =
      mode_ == reading::reliable ? memory_.slot_table->reliable_active : memory_.slot_table->lossy_active;
  // sync(lane.active): our loads come before the writer's stores in what we leave
  fetch_and(words[slot_ / 64], ~(u64{1} << (slot_ % 64)));
  if (mode_ == reading::lossy) store_release(*place_, 0);  // sync(lane.release): as above
  // sync(lane.waiting): leaving is a move (C3)
  QUOIT_RULE(C3_stop_fence) full_fence();
  QUOIT_RULE(C3_stop_pokes) poke_waiting_writer();
}

void lane_reader::count() noexcept {
  if (mode_ == reading::observing) return;
  lane_slot& slot = memory_.slot_table->slot[slot_];
  // relaxed: counters, for whoever lists the topic
  store_relaxed(slot.received, sequence_ - voids_ - count_at_start_ - lost_total_);
  store_relaxed(slot.lost, lost_total_);    // relaxed: as above
  store_relaxed(slot.position, position_);  // relaxed: as above
}

// ---- finding a place -----------------------------------------------------------------------------------

// A checkpoint whose frame may still be whole: the newest, or the oldest, that begins at or behind
// `not_before` and has at most `count_max` messages before it. It counts only once the place is covered and
// `reserved` was asked again (A5).
bool lane_reader::find_checkpoint(u64 not_before, u64 count_max, bool newest, lane_checkpoint& out) const noexcept {
  bool found = false;
  for (u32 i = 0; i < geometry_.strides; ++i) {
    const lane_checkpoint& entry = memory_.head->checkpoints[i];
    lane_checkpoint c{};
    // sync(lane.checkpoint): sequence and voids are those of this position, or of a later one, which the
    // check of `reserved` rules out
    c.position = load_acquire(entry.position);
    c.sequence = load_relaxed(entry.sequence);  // relaxed: ordered by the acquire
    c.voids = load_relaxed(entry.voids);        // relaxed: ordered by the acquire
    const bool sane = (geometry_.stride_of(c.position) & (geometry_.strides - 1)) == i &&
                      c.position % geometry_.alignment == 0 && c.voids <= c.sequence;
    if (!sane || c.position < not_before || c.sequence - c.voids > count_max) continue;
    if (!still_reserved_for_us(c.position)) continue;
    if (found && (newest ? c.position < out.position : c.position > out.position)) continue;
    found = true;
    out = c;
  }
  return found;
}

// `message`: at a whole frame place again, with nothing lost.
take_status lane_reader::resync() noexcept {
  for (u32 attempt = 0; attempt < 2 * strides_max; ++attempt) {
    lane_checkpoint c{};
    if (!find_checkpoint(position_, ~u64{0}, false, c)) break;
    if (!cover(c.position, c.position + 1, c.position)) continue;
    const u64 before = sequence_ - voids_;
    if (c.sequence < sequence_ || c.voids < voids_ || c.sequence - c.voids < before) return take_status::corrupt;
    lost_ = c.sequence - c.voids - before;
    lost_total_ += lost_;
    position_ = c.position;
    sequence_ = c.sequence;
    voids_ = c.voids;
    resync_due_ = false;
    return lost_ > 0 ? take_status::lagged : take_status::message;
  }
  // Everything was on its way out: cover nothing but what is held, and try again at the next look.
  safe_end_ = 0;
  move_slot();
  return take_status::nothing;
}

void lane_reader::start_at_first() noexcept {
  if (mode_ != reading::reliable) set_active(0);
  active_ = true;
  stride_end_ = geometry_.stride_bytes;
}

bool lane_reader::place_at(const lane_checkpoint& c) noexcept {
  if (mode_ == reading::reliable) {
    set_active(c.position);
    // sync(lane.reserve): either the writer's scan sees this wall, or we see its reservation (A4)
    QUOIT_RULE(A4_attach_fence) full_fence();
    if (QUOIT_RULE_ON(A4_attach_check) && !still_reserved_for_us(c.position)) return false;
    safe_end_ = geometry_.lap_end(c.position);
    stride_end_ = geometry_.stride_begin(c.position) + geometry_.stride_bytes;
  } else {
    if (!active_) set_active(0);
    if (!cover(c.position, c.position + 1, c.position)) return false;
  }
  position_ = c.position;
  sequence_ = c.sequence;
  voids_ = c.voids;
  resync_due_ = false;
  return true;
}

// Goes over frames until one of the targets is reached, or the end.
bool lane_reader::walk(u64 position_target, u64 count_target) noexcept {
  while (position_ < position_target && sequence_ - voids_ < count_target) {
    lane_frame frame;
    switch (take(frame)) {
      case take_status::message: release(frame); break;
      case take_status::lagged: break;
      case take_status::corrupt:
      case take_status::newer_version: return false;
      default: return true;
    }
  }
  return true;
}

bool lane_reader::start_at_latest() noexcept {
  // relaxed: a hint, and what it hints at is checked frame by frame
  const u64 end = load_relaxed(memory_.head->committed);
  // The newest checkpoint is never far from whole: its writer would have to lap us between these two calls.
  for (u32 attempt = 0; attempt < start_attempts_max; ++attempt) {
    lane_checkpoint c{};
    if (!find_checkpoint(0, ~u64{0}, true, c) || !place_at(c)) continue;
    const bool sane = walk(end, ~u64{0});
    if (overtaken_at(c.position)) continue;
    if (!sane) break;
    begin_counting();
    return true;
  }
  stop();
  return false;
}

bool lane_reader::start_with_history(u64 messages) noexcept {
  for (u32 attempt = 0; attempt < start_attempts_max; ++attempt) {
    if (!start_at_latest()) return false;
    const u64 end_count = count_at_start_;
    if (messages == 0 || end_count == 0) return true;
    const u64 target = end_count > messages ? end_count - messages : 0;
    // The last place from which the target can be walked to, or else the oldest that is left.
    lane_checkpoint c{};
    if (!find_checkpoint(0, target, true, c) && !find_checkpoint(0, end_count, false, c)) return true;
    // Backwards is a move that the writer may have overtaken (A4): then from the end again.
    if (!place_at(c)) continue;
    const bool sane = walk(~u64{0}, target);
    if (overtaken_at(c.position)) continue;
    if (!sane) {
      stop();
      return false;
    }
    begin_counting();
    return true;
  }
  return start_at_latest();
}

void lane_reader::begin_counting() noexcept {
  count_at_start_ = sequence_ - voids_;
  lost_total_ = 0;
  move_slot();
}

}  // namespace quoit::inline v1::detail
