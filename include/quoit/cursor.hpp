// A place in a topic on disk: for each of its publishers, the message that comes next.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "quoit/detail/export.hpp"
#include "quoit/result.hpp"

namespace quoit::inline v1 {

// What subscriber::position() and replay::position() answer, and start::at() takes. A subscriber that begins at a
// cursor receives exactly what one receives that goes on from where the cursor was taken: of each publisher that it
// names, the message with that sequence and all after it; of the others, everything. Two things change what is there:
// what retention removed is `lagged`, with its count; and after a power failure a publisher that waited for no flush
// may have lost its last messages. No sequence is used twice: a cursor behind them begins with the first message that
// was published after that.
//
// As text it can be kept anywhere: "gw1@9f86d081884c7d65:1041,gw2@2c26b46b68ffc68f:7".
//
// Thread safety: a value, like a std::string.
class QUOIT_EXPORT cursor {
 public:
  struct place {
    std::string publisher;  // publisher_options::publisher_name
    // Which lane of that name: one that was removed and made anew has another number, and is read from its first
    // message. 0: whichever is there.
    std::uint64_t lane = 0;
    std::uint64_t sequence = 0;  // of the next message
    friend bool operator==(const place&, const place&) = default;
  };

  cursor() = default;  // names nobody: everything that is there

  // Sorted by name.
  const std::vector<place>& places() const noexcept { return places_; }
  // Nothing if it is not named.
  const place* find(std::string_view publisher) const noexcept;
  // In the place of what was there for this publisher.
  void set(place where);

  // `name@lane:sequence` for each publisher, with the lane as 16 hexadecimal digits, or `name:sequence` without one,
  // with commas between. Empty: names nobody.
  std::string to_string() const;
  // What to_string() wrote, or a person. Errors: invalid_argument (words say what and where).
  static result<cursor> parse(std::string_view text);

  friend bool operator==(const cursor&, const cursor&) = default;
  friend QUOIT_EXPORT std::ostream& operator<<(std::ostream& out, const cursor& c);

 private:
  std::vector<place> places_;
};

}  // namespace quoit::inline v1
