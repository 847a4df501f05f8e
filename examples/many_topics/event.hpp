#pragma once

#include <cstdint>
#include <quoit.hpp>
#include <string>

struct event {
  std::uint32_t topic;   // which of them it was published on
  std::uint32_t last;    // 1 on the topic's last event
  std::uint64_t number;  // 0, 1, 2, ... of each topic
};
QUOIT_FIELDS(event, topic, last, number)

inline constexpr long topics_default = 2000;
// The other way: the publisher subscribes when it has opened all topics, and begins when something comes here.
inline constexpr const char* start_topic = "many/start";
inline std::string topic_name(std::size_t i) { return "many/" + std::to_string(i); }

// With so many topics small files are worth it: places for four subscriptions instead of 256, and rings of 4 KiB
// instead of 128.
inline constexpr quoit::topic_limits limits = {.publishers_max = 4, .subscriptions_max = 4};
