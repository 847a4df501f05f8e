// How an observer reads: it copies, and then asks whether what it copied was whole.
//
// The writer publishes a reservation, fences, and only then writes in the stride that it reserved. So if any word that
// we loaded belongs to a new lap, `reserved`, loaded after it, says so; otherwise every word was of the frame that we
// took it for. Before that answer nothing that was read is believed, not even that it is corrupt: a header that is a
// payload of the next lap may say anything, and the checks in take() keep all of it inside the ring. (Rule A16.)
#include <algorithm>
#include <cstdlib>

#include "quoit/detail/lane_reader.hpp"

namespace quoit::inline v1::detail {

// True if an observer that began to read at `position` may have read bytes of a new lap.
bool lane_reader::overtaken_at(u64 position) const noexcept {
  if (mode_ != reading::observing) return false;
  // sync(lane.reserve): a word of a new lap among those that we loaded makes the reservation visible that allowed it
  full_fence();
  return QUOIT_RULE_ON(A16_observer_check) && !still_reserved_for_us(position);
}

u32 lane_reader::copies_held() const noexcept {
  return static_cast<u32>(std::count_if(copies_.begin(), copies_.end(), [](const auto& each) { return each.held; }));
}

take_status lane_reader::take_copy(lane_frame& out) noexcept {
  const auto copy = std::find_if(copies_.begin(), copies_.end(), [](const message_copy& each) { return !each.held; });
  if (copy == copies_.end()) return take_status::too_many;
  if (resync_due_) {
    const take_status status = resync();
    if (status != take_status::message) return status;
  }
  const u64 position = position_;
  const u64 sequence = sequence_;
  const u64 voids = voids_;
  take_status status = take(out);
  if (status == take_status::message) {
    // Given back at once: nothing protects it anyway.
    held_count_ = 0;
    // By whole words: the last one may reach into the padding, never beyond the frame.
    const u64 bytes = align_up(std::max<u64>(out.payload_bytes, 1), word_bytes);
    if (copy->capacity_bytes < bytes) {
      const u64 alignment = std::max<u64>(geometry_.payload_alignment, alignof(std::max_align_t));
      std::free(copy->bytes);
      copy->capacity_bytes = align_up(bytes, alignment);
      copy->bytes = static_cast<std::byte*>(std::aligned_alloc(alignment, copy->capacity_bytes));
      if (copy->bytes == nullptr) {
        copy->capacity_bytes = 0;
        position_ = position;
        sequence_ = sequence;
        voids_ = voids;
        return take_status::too_many;
      }
    }
    auto* const from = reinterpret_cast<u64*>(const_cast<std::byte*>(out.payload));
    auto* const to = reinterpret_cast<u64*>(copy->bytes);
    // relaxed: ordered by the fence before `reserved` is asked
    for (u64 i = 0; i < bytes / word_bytes; ++i) to[i] = load_relaxed(from[i]);
  }
  if (overtaken_at(position)) {
    position_ = position;
    sequence_ = sequence;
    voids_ = voids;
    resync_due_ = true;
    status = resync();
    // A place was found and nothing was lost but void frames: the next look takes what is there.
    return status == take_status::message ? take_status::nothing : status;
  }
  if (status == take_status::message) {
    out.payload = copy->bytes;
    copy->held = true;
  }
  return status;
}

}  // namespace quoit::inline v1::detail
