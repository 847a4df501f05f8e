#include "storage/frame_walk.hpp"

namespace quoit::inline v1::detail {

namespace {

frame_step bad(const char* reason) noexcept {
  frame_step step;
  step.kind = step_kind::bad;
  step.reason = reason;
  return step;
}

bool all_zero(const std::byte* from, u64 bytes) noexcept {
  u64 seen = 0;
  u64 at = 0;
  for (; at + word_bytes <= bytes; at += word_bytes) {
    u64 word = 0;
    std::memcpy(&word, from + at, sizeof word);
    seen |= word;
  }
  for (; at < bytes; ++at) seen |= static_cast<u64>(from[at]);
  return seen == 0;
}

}  // namespace

frame_step look_at_frame(const segment_file& segment, u64 begin, const log_place& place, bool check) noexcept {
  const segment_geometry& g = segment.geometry;
  const u64 offset = place.position - begin;
  if (offset + word_bytes > g.data_bytes || offset % word_bytes != 0) return bad("a place that no frame has");
  const std::byte* const frame = segment.data() + offset;
  const u64& word = *reinterpret_cast<const u64*>(frame);
  frame_step step;
  // sync(segment.commit): what lies behind a header is whole
  step.header = {load_acquire(word)};
  const frame_header h = step.header;
  if (h.word == 0) return step;
  if (h.is(frame_kind::skip)) {
    step.length = u64{h.payload_bytes()} + word_bytes;
    if (step.length % word_bytes != 0 || step.length > g.data_bytes - offset) return bad("a skip that ends nowhere");
    if (h.word != segment_skip(segment.salt, place.position, step.length).word) return bad("a skip's check is wrong");
    step.kind = step.length == g.data_bytes - offset ? step_kind::rolled : step_kind::skip;
    return step;
  }
  if ((h.flags() & ~frame_flags_known) != 0) {
    step.kind = step_kind::newer;
    return step;
  }
  if (h.flags() != segment_frame_flags) return bad("the flags of a frame are wrong");
  if (h.payload_bytes() > g.payload_bytes_max) return bad("a message larger than the segment allows");
  step.length = g.extent(h.payload_bytes());
  if (step.length + word_bytes > g.data_bytes - offset) return bad("a frame that runs past the segment's end");
  if (h.sequence_low() != (place.sequence & sequence_low_mask)) return bad("a frame is out of sequence");
  if (h.is(frame_kind::claimed)) {
    step.kind = step_kind::claimed;
    return step;
  }
  const bool voided = h.is(frame_kind::voided);
  if (!voided && !h.is(frame_kind::message)) return bad("a frame of an unknown kind");
  step.kind = voided ? step_kind::voided : step_kind::message;
  u64 words[2];
  std::memcpy(words, frame + word_bytes, sizeof words);
  step.stamp = words[0];
  if (!check) return step;
  const u64 checked[2] = {h.word, step.stamp};
  const u32 crc = crc32c_words(segment.salt, reinterpret_cast<const std::byte*>(checked), sizeof checked);
  const std::byte* const payload = frame + segment_words_bytes;
  const u64 covered = checked_bytes(h.payload_bytes());
  if (words[1] != u64{crc32c_words(crc, payload, covered)}) return bad("a frame's check is wrong");
  if (step.stamp < place.stamp) return bad("a frame's time is below that of the one before");
  const u64 used = voided ? 0 : h.payload_bytes();
  if (!all_zero(payload + used, step.length - segment_words_bytes - used))
    return bad("the padding of a frame is not zero");
  return step;
}

log_place behind(const log_place& place, const frame_step& step) noexcept {
  log_place next = place;
  next.position += step.length;
  if (step.kind == step_kind::skip) return next;
  ++next.sequence;
  if (step.kind != step_kind::message) ++next.voids;
  next.stamp = std::max(next.stamp, step.stamp);
  return next;
}

bool read_entry(const segment_file& segment, u32 part, segment_index_entry& out) noexcept {
  const segment_index_entry& entry = segment.entry(part);
  // sync(segment.index): the entry is whole for whoever reads its last word
  out.place = load_acquire(entry.place);
  if (out.place == 0) return false;
  // relaxed: ordered by the acquire; each is stored once
  out.sequence = load_relaxed(entry.sequence);
  out.voids = load_relaxed(entry.voids);
  out.stamp = load_relaxed(entry.stamp);  // relaxed: as above
  return out.check() == entry_check(out, segment.salt) && out.offset() % word_bytes == 0 &&
         out.offset() >> segment.geometry.index_shift == part &&
         out.offset() + word_bytes <= segment.geometry.data_bytes;
}

}  // namespace quoit::inline v1::detail
