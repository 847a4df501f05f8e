#include "ring/geometry.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "base/segment_prefix.hpp"

namespace quoit::inline v1::detail {

namespace {

bool power_of_two(u64 value) noexcept { return value != 0 && (value & (value - 1)) == 0; }

// The largest frame that a ring takes (A7).
u64 frame_bytes_limit(u64 ring_bytes, u32 strides, bool lossy_allowed, u64 alignment) noexcept {
  const u64 stride = ring_bytes / strides;
  // A lossy reader covers two strides at most. On every lane two frames must fit beside the stride that a
  // wall may be in, or a publisher would wait for ever for a reader that waits for it.
  const u64 limit = lossy_allowed ? stride - word_bytes : (ring_bytes - stride) / 2;
  return align_down(limit, alignment);
}

u64 alignment_of(const lane_request& request) noexcept {
  return std::max(request.frame_alignment, request.payload_alignment);
}

// Of the largest lane.
u64 largest_payload(const lane_request& request) noexcept {
  return frame_bytes_limit(ring_bytes_max, request.strides, request.lossy_allowed, alignment_of(request)) - 64;
}

u64 frame_bytes(const lane_request& request) noexcept {
  const u64 words = payload_offset(request.stamped ? frame_stamped : u8{0});
  return align_up(words + request.payload_bytes_max, alignment_of(request));
}

lane_geometry sized(const lane_request& request, u64 ring_bytes) noexcept {
  lane_geometry g{};
  g.ring_bytes = ring_bytes;
  g.strides = request.strides;
  g.stride_bytes = ring_bytes / request.strides;
  g.stride_shift = static_cast<u32>(std::countr_zero(g.stride_bytes));
  g.alignment = static_cast<u32>(alignment_of(request));
  g.payload_alignment = request.payload_alignment;
  g.payload_bytes_max = static_cast<u32>(request.payload_bytes_max);
  g.subscriptions = request.subscriptions;
  g.flags = request.stamped ? frame_stamped : u8{0};
  g.lossy_allowed = request.lossy_allowed;
  g.reliable_allowed = request.reliable_allowed;
  g.frame_bytes_max = static_cast<u32>(g.extent(request.payload_bytes_max));
  return g;
}

error corrupt(const char* what) { return error(errc::corrupt, std::string("lane segment: ") + what); }

}  // namespace

u64 capacity_for(const lane_request& request) noexcept {
  const u64 alignment = alignment_of(request);
  if (request.payload_bytes_max > largest_payload(request)) return 0;
  const u64 frame = frame_bytes(request);
  u64 ring = u64{request.strides} * std::max<u64>(alignment * 2, 256);
  while (ring < ring_bytes_max && frame_bytes_limit(ring, request.strides, request.lossy_allowed, alignment) < frame) {
    ring *= 2;
  }
  return ring;
}

// What is lost of a ring of S strides: the stride that the reserved end lies in, rounded up (A3); the frame that may be
// reserved behind the tail, with the word behind it (A1); what the loans have; what is left before the ring's end; and
// the frame that begins before the oldest stride and reaches into it. So (S - 1) strides hold the rest.
u64 capacity_for_history(const lane_request& request) noexcept {
  const u64 least = capacity_for(request);
  if (least == 0 || request.history == 0) return least;
  const u64 frame = frame_bytes(request);
  if (request.history > ring_bytes_max / frame) return 0;
  const u64 bytes = (request.history + request.loans_max + 3) * frame + word_bytes;
  const u64 stride = (bytes + request.strides - 2) / (request.strides - 1);
  const u64 ring = std::bit_ceil(std::max(stride * request.strides, least));
  return ring > ring_bytes_max ? 0 : ring;
}

result<void> check_request(const lane_request& request) {
  const auto refuse = [](std::string words) { return tl::unexpected(error(errc::invalid_argument, words)); };
  if (!power_of_two(request.strides) || request.strides < strides_min || request.strides > strides_max) {
    return refuse("strides is " + std::to_string(request.strides) + ": it must be 8, 16, 32 or 64");
  }
  if (!power_of_two(request.frame_alignment) || request.frame_alignment < word_bytes ||
      request.frame_alignment > alignment_max) {
    return refuse("alignment is " + std::to_string(request.frame_alignment) +
                  ": it must be a power of two from 8 to 4096");
  }
  if (!power_of_two(request.payload_alignment) || request.payload_alignment > alignment_max) {
    return refuse("the alignment of the type is " + std::to_string(request.payload_alignment) +
                  ": it must be a power of two of at most 4096");
  }
  if (request.subscriptions == 0 || request.subscriptions > subscriptions_limit) {
    return refuse("subscriptions_max is " + std::to_string(request.subscriptions) + ": it must be 1 to " +
                  std::to_string(subscriptions_limit));
  }
  if (request.capacity_bytes > ring_bytes_max) {
    return refuse("capacity_bytes is " + std::to_string(request.capacity_bytes) + ": a lane has at most " +
                  std::to_string(ring_bytes_max));
  }
  return {};
}

result<lane_geometry> make_geometry(const lane_request& request) {
  if (auto ok = check_request(request); !ok) return tl::unexpected(std::move(ok.error()));
  const u64 need = capacity_for(request);
  if (need == 0) {
    return tl::unexpected(error(errc::message_too_large,
                                "messages of " + std::to_string(request.payload_bytes_max) +
                                    " bytes fit into no lane: the largest, of " + std::to_string(ring_bytes_max) +
                                    " bytes, takes at most " + std::to_string(largest_payload(request)) +
                                    (request.lossy_allowed ? " (more with lossy_subscribers = false)" : "")));
  }
  const u64 ring = std::bit_ceil(std::max(request.capacity_bytes, u64{1}));
  if (ring < need) {
    return tl::unexpected(error(errc::message_too_large,
                                "messages of " + std::to_string(request.payload_bytes_max) +
                                    " bytes need capacity_bytes of at least " + std::to_string(need) + " here; it is " +
                                    std::to_string(request.capacity_bytes),
                                need));
  }
  if (request.history > 0) {
    const u64 for_history = capacity_for_history(request);
    if (for_history == 0 || ring < for_history) {
      return tl::unexpected(error(
          errc::invalid_argument,
          "a history of " + std::to_string(request.history) + " messages of " +
              std::to_string(request.payload_bytes_max) + " bytes, with loans_max " +
              std::to_string(request.loans_max) + ", " +
              (for_history == 0 ? "fits into no lane: the largest has " + std::to_string(ring_bytes_max) + " bytes"
                                : "needs capacity_bytes of at least " + std::to_string(for_history) + "; it is " +
                                      std::to_string(request.capacity_bytes)),
          for_history));
    }
  }
  return sized(request, ring);
}

void write_geometry(const lane_geometry& g, lane_header& head, lane_slots& slots) noexcept {
  head.prefix.magic = lane_magic;
  head.prefix.layout_major = layout_major;
  head.prefix.layout_minor = layout_minor;
  head.prefix.header_bytes = lane_header_bytes;
  head.prefix.entry_bytes = sizeof(lane_checkpoint);
  head.prefix.entry_count = strides_max;
  head.prefix.segment_bytes = g.data_file_bytes();
  head.ring_bytes = g.ring_bytes;
  head.data_offset = g.data_offset();
  head.strides = g.strides;
  head.alignment = g.alignment;
  head.payload_alignment = g.payload_alignment;
  head.frame_bytes_max = g.frame_bytes_max;
  head.payload_bytes_max = g.payload_bytes_max;
  head.frame_flags = g.flags;
  head.lossy_allowed = g.lossy_allowed ? 1 : 0;
  head.reliable_allowed = g.reliable_allowed ? 1 : 0;

  slots.prefix = head.prefix;
  slots.prefix.magic = slots_magic;
  slots.prefix.header_bytes = slots_header_bytes;
  slots.prefix.entry_bytes = sizeof(lane_slot);
  slots.prefix.entry_count = g.subscriptions;
  slots.prefix.segment_bytes = slots_bytes(g.subscriptions);
}

result<lane_geometry> read_geometry(const lane_header& shared, u64 data_file_bytes, const lane_slots& shared_slots,
                                    u64 slots_file_bytes) {
  const auto refuse = [](const char* what) { return tl::unexpected(corrupt(what)); };
  if (data_file_bytes < lane_header_bytes || slots_file_bytes < slots_header_bytes) {
    return refuse("shorter than its header");
  }
  // Once, into private memory: nothing is checked here and then read again.
  const segment_prefix prefix = shared.prefix;
  const segment_prefix slots = shared_slots.prefix;
  if (prefix.magic != lane_magic || slots.magic != slots_magic) return refuse("no lane: the magic number is wrong");
  for (const segment_prefix* p : {&prefix, &slots}) {
    if (p->layout_major != layout_major || p->required_features != 0) {
      return tl::unexpected(another_version("lane segment", *p));
    }
  }
  lane_geometry g{};
  g.ring_bytes = shared.ring_bytes;
  g.strides = shared.strides;
  g.alignment = shared.alignment;
  g.payload_alignment = shared.payload_alignment;
  g.frame_bytes_max = shared.frame_bytes_max;
  g.payload_bytes_max = shared.payload_bytes_max;
  g.subscriptions = slots.entry_count;
  g.flags = shared.frame_flags;
  g.lossy_allowed = shared.lossy_allowed != 0;
  g.reliable_allowed = shared.reliable_allowed != 0;
  const u64 data_offset = shared.data_offset;
  if ((g.flags & ~frame_flags_known) != 0) {
    return tl::unexpected(
        error(errc::newer_version, "lane segment: frames with flags that this library does not know"));
  }
  if (!power_of_two(g.ring_bytes) || g.ring_bytes > ring_bytes_max) return refuse("the ring is no power of two");
  if (!power_of_two(g.strides) || g.strides < strides_min || g.strides > strides_max) return refuse("strides");
  g.stride_bytes = g.ring_bytes / g.strides;
  if (g.stride_bytes < 64) return refuse("the ring is too small");
  g.stride_shift = static_cast<u32>(std::countr_zero(g.stride_bytes));
  if (!power_of_two(g.alignment) || g.alignment < word_bytes || g.alignment > alignment_max ||
      g.alignment >= g.stride_bytes || !power_of_two(g.payload_alignment) || g.payload_alignment > g.alignment) {
    return refuse("alignment");
  }
  if (g.frame_bytes_max > frame_bytes_limit(g.ring_bytes, g.strides, g.lossy_allowed, g.alignment) ||
      g.extent(g.payload_bytes_max) != g.frame_bytes_max) {
    return refuse("the largest message does not fit into the ring");
  }
  if (data_offset != g.data_offset() || prefix.header_bytes != lane_header_bytes ||
      data_file_bytes < g.data_offset() + g.ring_bytes) {
    return refuse("the data file is shorter than its ring");
  }
  if (g.subscriptions == 0 || g.subscriptions > subscriptions_limit || slots.entry_bytes != sizeof(lane_slot) ||
      slots.header_bytes != slots_header_bytes || slots_file_bytes < slots_bytes(g.subscriptions)) {
    return refuse("the slot file is shorter than its slots");
  }
  return g;
}

}  // namespace quoit::inline v1::detail
