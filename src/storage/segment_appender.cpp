// The slow paths of a writer on disk: several claims at once, rolling, and what is left of the index.
#include "quoit/detail/segment_appender.hpp"

#include <bit>
#include <cstring>

#include "storage/segment_file.hpp"

namespace quoit::inline v1::detail {

segment_appender::segment_appender(const segment_geometry& geometry, segment_supply& supply, u32 claims_max,
                                   const segment_memory& segment, const log_place& place, const segment_clock& clock,
                                   const clock_source& source)
    : geometry_(geometry),
      supply_(supply),
      claims_max_(claims_max),
      slow_only_(!crc32c_in_hardware()),
      tail_(place.position),
      next_sequence_(place.sequence),
      voids_(place.voids),
      last_stamp_(place.stamp),
      clock_(source),
      claims_(std::bit_ceil(std::max(claims_max, u32{1}))),
      frontier_(place.position) {
  clock_.go_on_with(static_cast<std::int64_t>(clock.offset));
  enter(segment, clock);
  set_due();
  // relaxed: nobody else writes it
  if (load_relaxed(segment.index[(place.position - segment.begin) >> segment.index_shift].place) == 0) note_place();
}

void segment_appender::enter(const segment_memory& memory, const segment_clock& clock) noexcept {
  segments_[segment_count_] = {memory, clock, ~u64{0}};
  segments_[segment_count_++].clock.first = memory.clock_first;
  segment_ = memory;
  end_ = memory.begin + memory.data_bytes;
  allow_fast_claims();
}

void segment_appender::allow_fast_claims() noexcept {
  // relaxed: leave() comes with a fence of its own
  store_relaxed(limit_, slow_only_ ? 0 : end_);
  // sync(segment.leave): either who calls leave() stores its limit behind ours, or we see its word
  full_fence();
  // relaxed: ordered by the fence
  if (load_relaxed(leave_) != left_count_) store_relaxed(limit_, 0);
}

void segment_appender::leave() noexcept {
  // sync(segment.leave): the word comes before the limit
  fetch_add(leave_, 1);
  full_fence();
  // relaxed: the writer comes to the slow path, whenever it sees this, and looks at the word there
  store_relaxed(limit_, 0);
}

// ---- claims --------------------------------------------------------------------------------------------

append_status segment_appender::claim_slow(u32 payload_bytes, lane_claim& out) noexcept {
  if (payload_bytes > geometry_.payload_bytes_max) return append_status::too_large;
  if (unresolved_ >= claims_max_) return append_status::too_many;
  const u64 extent = geometry_.extent(payload_bytes);
  // sync(segment.leave): the limit was set to 0 behind this
  const u64 asked_to_leave = load_acquire(leave_);
  const bool must_roll = asked_to_leave != left_count_ || tail_ + extent + word_bytes > end_;
  if (must_roll || clock_.was_set()) {
    // S10: only where there is a segment for it a new clock begins.
    const append_status status = roll(asked_to_leave, extent);
    if (status != append_status::ok && must_roll) return status;
  } else if (!slow_only_ && load_relaxed(limit_) == 0) {  // relaxed: allow_fast_claims() looks at what leave() says
    // The clock was set back to where it was before there was a segment.
    allow_fast_claims();
  }
  if (unresolved_ == 0 && !slow_only_) {
    single_position_ = tail_;
    single_bytes_ = payload_bytes;
    out.index = first_claim_;
  } else {
    spill_single();
    show_newest_claim();
    out.index = first_claim_ + table_count_;
    add_claim(tail_, tail_ + extent, next_sequence_, payload_bytes);
  }
  out.position = tail_;
  out.sequence = next_sequence_++;
  out.payload_bytes = payload_bytes;
  out.payload = segment_.data + (tail_ - segment_.begin) + segment_words_bytes;
  tail_ += extent;
  ++unresolved_;
  return append_status::ok;
}

void segment_appender::spill_single() noexcept {
  if (unresolved_ == 1 && table_count_ == 0) add_claim(single_position_, tail_, next_sequence_ - 1, single_bytes_);
}

void segment_appender::add_claim(u64 position, u64 end, u64 sequence, u32 payload_bytes) noexcept {
  entry e;
  e.header = &segment_.word(position);
  e.position = position;
  e.end = end;
  e.sequence = sequence;
  e.clock = segment_.clock_first;
  e.payload_bytes = payload_bytes;
  e.salt = segment_.salt;
  at(first_claim_ + table_count_++) = e;
}

// Before anything is put behind the newest claim.
void segment_appender::show_newest_claim() noexcept {
  if (table_count_ == 0) return;
  entry& newest = at(first_claim_ + table_count_ - 1);
  if (newest.resolved || newest.claimed_stored) return;
  newest.claimed_stored = true;
  // sync(segment.commit): a reader waits here; what is behind it may be whole already
  store_release(
      *newest.header,
      frame_header::make(newest.payload_bytes, frame_kind::claimed, segment_frame_flags, newest.sequence).word);
}

append_status segment_appender::roll(u64 asked_to_leave, u64 extent) noexcept {
  if (segment_count_ == hidden_max) return append_status::would_block;
  segment_clock clock = segments_[segment_count_ - 1].clock;
  if (clock_.was_set()) {
    const u64 before = std::max(clock_.still_now(), last_stamp_);
    const std::int64_t offset = clock_.set_offset();
    clock = {static_cast<u64>(offset), clock.zone, 0, clock_.at_offset(offset), before, 0};
  }
  segment_memory next;
  if (const append_status status = supply_.next({end_, next_sequence_, extent + word_bytes}, clock, next);
      status != append_status::ok)
    return status;
  if (clock_.was_set()) clock_.follow();
  spill_single();
  show_newest_claim();
  // sync(segment.commit): S4: whoever reads this goes on in the next segment, once that has its start
  store_release(segment_.word(tail_), segment_skip(segment_.salt, tail_, end_ - tail_).word);
  segments_[segment_count_ - 1].left_at = tail_;
  tail_ = end_;
  left_count_ = asked_to_leave;
  enter(next, clock);
  pass_segments();
  return append_status::ok;
}

// ---- resolving -----------------------------------------------------------------------------------------

bool segment_appender::resolve_slow(const lane_claim& claim, u32 payload_bytes, bool voided) noexcept {
  const u64 now = clock_.now();
  if (now == 0 && !voided && unresolved_ == 1) {
    std::memset(claim.payload + payload_bytes, 0, claim.payload_bytes - payload_bytes);
    tail_ = claim.position + geometry_.extent(payload_bytes);
    table_count_ = 0;
    lane_claim cut = claim;
    cut.payload_bytes = payload_bytes;
    return commit_after_clock_was_set(cut);
  }
  spill_single();
  entry& e = at(claim.index);
  const bool newest = e.end == tail_;
  const u32 kept = !voided ? payload_bytes : newest ? 0 : e.payload_bytes;
  const u64 end = e.position + geometry_.extent(kept);
  std::byte* const payload = reinterpret_cast<std::byte*>(e.header) + segment_words_bytes;
  // S2: what is given back is as if nobody had written there, before the frame says that it ends before it.
  const u32 used = voided ? 0 : kept;
  std::memset(payload + used, 0, static_cast<std::size_t>(e.end - e.position - segment_words_bytes - used));
  if (end < e.end) {
    if (newest) {
      tail_ = e.end = end;
    } else {
      u64& behind = *(e.header + (end - e.position) / word_bytes);
      // relaxed: the release of this frame's header, below, orders it
      store_relaxed(behind, segment_skip(e.salt, end, e.end - end).word);
    }
  }
  e.stamp = ordered_stamp(claim.index, now);
  if (clock_.was_set()) store_relaxed(limit_, 0);  // relaxed: ours; the next claim looks for another segment
  const frame_kind kind = voided ? frame_kind::voided : frame_kind::message;
  const u64 checked[2] = {frame_header::make(kept, kind, segment_frame_flags, e.sequence).word, e.stamp};
  const u32 begin = crc32c_words(e.salt, reinterpret_cast<const std::byte*>(checked), sizeof checked);
  // relaxed: the release of the header orders both
  store_relaxed(e.header[1], e.stamp);
  store_relaxed(e.header[2], crc32c_words(begin, payload, checked_bytes(kept)));
  // sync(segment.commit): the words, the payload and what is behind are whole for whoever reads this header
  store_release(e.header[0], checked[0]);
  e.resolved = true;
  e.voided = voided;
  const bool visible = claim.index == first_claim_;
  if (visible) pop_resolved();
  return visible;
}

// A stamp is never below that of the frame before on the same clock, and claims may be resolved in any order.
u64 segment_appender::ordered_stamp(u32 index, u64 now) const noexcept {
  const entry& e = at(index);
  const segment_clock& clock = clock_of(e);
  const u64 bound = clock.first == segments_[0].clock.first ? last_stamp_ : clock.since;
  const auto offset = static_cast<std::int64_t>(clock.offset);
  const u64 here = now != 0 && offset == clock_.offset() ? now : clock_.at_offset(offset);
  u64 result = std::max(here, bound);
  for (u32 i = first_claim_; i != first_claim_ + table_count_; ++i) {
    const entry& other = at(i);
    if (!other.resolved || other.clock != e.clock) continue;
    if (i - first_claim_ < index - first_claim_) result = std::max(result, other.stamp);
  }
  for (u32 i = index + 1; i != first_claim_ + table_count_; ++i) {
    if (at(i).resolved && at(i).clock == e.clock) result = std::min(result, at(i).stamp);
  }
  return result;
}

const segment_clock& segment_appender::clock_of(const entry& e) const noexcept {
  u32 i = 0;
  while (i + 1 < segment_count_ && segments_[i].clock.first != e.clock) ++i;
  return segments_[i].clock;
}

// Nothing of the only claim is visible yet: it goes to the segment with which the new clock begins.
bool segment_appender::commit_after_clock_was_set(const lane_claim& claim) noexcept {
  const u64 tail = tail_;
  tail_ = claim.position;
  unresolved_ = 0;
  --next_sequence_;
  // sync(segment.leave): the limit was set to 0 behind this
  const append_status status = roll(load_acquire(leave_), geometry_.extent(claim.payload_bytes));
  unresolved_ = 1;
  ++next_sequence_;
  if (status != append_status::ok) {
    // relaxed: ours; each claim looks for a segment until there is one
    store_relaxed(limit_, 0);
    tail_ = tail;
    return commit_whole(claim, clock_.still_now());
  }
  lane_claim moved = claim;
  moved.position = tail_;
  moved.payload = segment_.data + (tail_ - segment_.begin) + segment_words_bytes;
  std::memcpy(moved.payload, claim.payload, claim.payload_bytes);
  std::memset(claim.payload, 0, claim.payload_bytes);
  tail_ += geometry_.extent(claim.payload_bytes);
  return commit_whole(moved, clock_.now());
}

// The only claim there is, as commit() does it.
bool segment_appender::commit_whole(const lane_claim& claim, u64 stamp) noexcept {
  last_stamp_ = std::max(stamp, last_stamp_);
  u64* const words = reinterpret_cast<u64*>(claim.payload - segment_words_bytes);
  const u64 checked[2] = {
      frame_header::make(claim.payload_bytes, frame_kind::message, segment_frame_flags, claim.sequence).word,
      last_stamp_};
  const u32 begin = crc32c_words(segment_.salt, reinterpret_cast<const std::byte*>(checked), sizeof checked);
  // relaxed: the release of the header orders both
  store_relaxed(words[1], last_stamp_);
  store_relaxed(words[2], crc32c_words(begin, claim.payload, checked_bytes(claim.payload_bytes)));
  // sync(segment.commit): the words and the payload are whole for whoever reads this header
  store_release(words[0], checked[0]);
  unresolved_ = 0;
  // sync(segment.frontier): as in commit()
  store_release(frontier_, tail_);
  if (tail_ >= index_due_) note_place();
  return true;
}

void segment_appender::pop_resolved() noexcept {
  while (table_count_ > 0 && at(first_claim_).resolved) {
    const entry& e = at(first_claim_);
    if (e.voided) ++voids_;
    last_stamp_ = std::max(last_stamp_, e.stamp);
    const u64 end = e.end;
    ++first_claim_;
    --table_count_;
    --unresolved_;
    // sync(segment.frontier): as in commit()
    store_release(frontier_, end);
    if (end >= index_due_) note_place();
    pass_segments();
  }
}

bool segment_appender::close() noexcept {
  bool visible = false;
  while (unresolved_ > 0) {
    spill_single();
    // The newest first: each then gives its whole place back.
    lane_claim claim;
    claim.index = first_claim_ + table_count_ - 1;
    while (at(claim.index).resolved) --claim.index;
    visible = resolve_slow(claim, 0, true) || visible;
  }
  return visible;
}

// ---- what lies behind the frontier ---------------------------------------------------------------------

// The sequence of the frame at the frontier is that of the next claim, less those that are open.
void segment_appender::pass_segments() noexcept {
  while (segment_count_ > 1 && segments_[0].left_at == frontier()) {
    const segment_memory& next = segments_[1].memory;
    if (segments_[1].clock.first != segments_[0].clock.first) last_stamp_ = segments_[1].clock.since;
    // Only frames that are resolved stand before the frontier, so all that are in the table stand behind it.
    const log_place place{next.begin, next_sequence_ - table_count_, voids_, last_stamp_};
    supply_.starts(next.number, place, segments_[0].left_at);
    std::copy(segments_ + 1, segments_ + segment_count_, segments_);
    --segment_count_;
    // sync(segment.frontier): as in commit()
    store_release(frontier_, place.position);
    index_due_ = place.position;
    note_place();
  }
}

// S6: the first place of a frame in each part, once everything before it is resolved.
void segment_appender::note_place() noexcept {
  const segment_memory& segment = segments_[0].memory;
  const u64 place = frontier();
  const u64 offset = place - segment.begin;
  const u64 sequence = next_sequence_ - table_count_;
  const u64 part = offset >> segment.index_shift;
  set_due();
  if (part >= segment.index_entries || offset + word_bytes > segment.data_bytes) return;
  write_entry(segment.index[part], segment.salt, {sequence, voids_, last_stamp_, offset});
}

void segment_appender::set_due() noexcept {
  const segment_memory& segment = segments_[0].memory;
  const u64 offset = frontier() - segment.begin;
  index_due_ = segment.begin + (((offset >> segment.index_shift) + 1) << segment.index_shift);
}

}  // namespace quoit::inline v1::detail
