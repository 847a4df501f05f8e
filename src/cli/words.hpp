// What the listings of `quoit` print alike.
#pragma once

#include <cstdint>
#include <quoit/kept.hpp>
#include <string>

namespace cli {

// "2026-11-25T20:12:00.123Z"; "-" for the epoch.
std::string words_of(quoit::publishing_time time);
// The same with all nine digits, as --from time:... takes it.
std::string exact_words_of(quoit::publishing_time time);

// "64.0 MiB"
std::string words_of_bytes(std::uint64_t bytes);

}  // namespace cli
