// What the two halves of an outbox share.
#pragma once

#include "transport/unix/outbox.hpp"

namespace quoit::inline v1::detail {

// In its epoll; a connection has its slot.
inline constexpr u64 outbox_tag_told = ~u64{0};
inline constexpr u64 outbox_tag_listener = outbox_tag_told - 1;

inline error mode_conflict(const std::string& topic, const char* words) {
  return error(errc::policy_conflict, "topic " + topic + ": " + words);
}

// Whether a lane can give what a subscription asks for. Errors: policy_conflict.
inline result<void> check_mode(const std::string& topic, u32 asked, const lane_geometry& g) {
  if (asked == static_cast<u32>(mode::reliable) && !g.reliable_allowed) {
    return tl::unexpected(mode_conflict(topic,
                                        "a subscription asks for mode reliable, which no overwriting publisher can "
                                        "give; publish with policy block or fail, or subscribe with mode automatic"));
  }
  if (asked == static_cast<u32>(mode::lossy) && !g.lossy_allowed) {
    return tl::unexpected(mode_conflict(topic,
                                        "a subscription asks for mode lossy, which a publisher with "
                                        "lossy_subscribers = false cannot give"));
  }
  return {};
}

inline bool is_observer(u32 asked) { return asked == static_cast<u32>(mode::observer); }

inline bool is_reliable(u32 asked, const lane_geometry& g) {
  return g.reliable_allowed && asked != static_cast<u32>(mode::lossy) && !is_observer(asked);
}

inline lane_reader::reading how_to_read(u32 asked, const lane_geometry& g) {
  return is_observer(asked)      ? lane_reader::reading::observing
         : is_reliable(asked, g) ? lane_reader::reading::reliable
                                 : lane_reader::reading::lossy;
}

// Connections of observers, beside those of subscriptions.
inline constexpr u32 observers_max = 64;

}  // namespace quoit::inline v1::detail
