// Where a reader begins, as --from has it.
#pragma once

#include <quoit/cursor.hpp>
#include <quoit/kept.hpp>
#include <quoit/options.hpp>
#include <string>

namespace cli {

// Shown where what was given is none of them.
inline constexpr const char* starts_allowed =
    "earliest, latest, last:N (messages of each publisher), sequence:N, time:T (2026-11-25T20:12:00Z, "
    "2026-11-25T20:12:00.5+01:00, or -10m before now, with ms, s, m, h or d), or cursor:TEXT (as a reader's position "
    "is written)";

// `where` takes a cursor, and has to live as long as the start is used. `now` is what relative times are before.
// Throws std::invalid_argument with words.
quoit::start start_of(const std::string& text, quoit::publishing_time now, quoit::cursor& where);

// RFC 3339 ("2026-11-25T20:12:00.123Z", "...+01:00"), or "-10m". Throws std::invalid_argument.
quoit::publishing_time time_of(const std::string& text, quoit::publishing_time now);

}  // namespace cli
