#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace quoit::inline v1::detail {

// The type of a topic's messages, as its segments describe it (docs/format/topic.md, type_fields).
struct described_type {
  std::string_view name;
  std::uint32_t bytes = 0;  // 0: variable
  std::uint32_t alignment = 1;
  std::string_view fields;
};

// What of `asked` differs from what is `there`, field by field, for people: "field bid is f64 at byte 0, asked for as
// f32 at byte 0; size 16, asked for 12". Whatever another process wrote there: it may be no description, and what is
// not printable is shown as `?`. Empty: nothing differs.
std::string type_difference(const described_type& there, const described_type& asked);

}  // namespace quoit::inline v1::detail
