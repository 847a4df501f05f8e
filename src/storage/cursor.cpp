#include "quoit/cursor.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ostream>

#include "storage/log_lane.hpp"

namespace quoit::inline v1 {

namespace {

constexpr std::size_t lane_digits = 16;

template <class Places>
auto position_of(Places& places, std::string_view publisher) noexcept {
  return std::lower_bound(places.begin(), places.end(), publisher,
                          [](const cursor::place& p, std::string_view name) { return p.publisher.compare(name) < 0; });
}

// The whole of `text` as a number.
bool read_number(std::string_view text, int base, std::uint64_t& out) noexcept {
  const auto [end, why] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return why == std::errc() && end == text.data() + text.size();
}

bool read_place(std::string_view text, cursor::place& out) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || !read_number(text.substr(colon + 1), 10, out.sequence)) return false;
  std::string_view name = text.substr(0, colon);
  if (const std::size_t at = name.find('@'); at != std::string_view::npos) {
    const std::string_view lane = name.substr(at + 1);
    if (lane.size() != lane_digits || !read_number(lane, 16, out.lane)) return false;
    name = name.substr(0, at);
  }
  out.publisher = name;
  return detail::check_lane_name(name).has_value();
}

}  // namespace

const cursor::place* cursor::find(std::string_view publisher) const noexcept {
  const auto at = position_of(places_, publisher);
  return at != places_.end() && at->publisher == publisher ? &*at : nullptr;
}

void cursor::set(place where) {
  const auto at = position_of(places_, where.publisher);
  if (at != places_.end() && at->publisher == where.publisher) {
    *at = std::move(where);
  } else {
    places_.insert(at, std::move(where));
  }
}

std::string cursor::to_string() const {
  std::string text;
  for (const place& p : places_) {
    if (!text.empty()) text += ',';
    text += p.publisher;
    if (p.lane != 0) {
      char digits[lane_digits + 2];
      std::snprintf(digits, sizeof digits, "@%016llx", static_cast<unsigned long long>(p.lane));
      text += digits;
    }
    text += ':' + std::to_string(p.sequence);
  }
  return text;
}

result<cursor> cursor::parse(std::string_view text) {
  cursor read;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    const std::string_view part = text.substr(at, end - at);
    place p;
    const bool last_is_open = end + 1 == text.size();
    if (last_is_open || !read_place(part, p) || read.find(p.publisher) != nullptr) {
      return tl::unexpected(error(errc::invalid_argument,
                                  "a cursor has `name@lane:sequence` or `name:sequence` once for each "
                                  "publisher, with commas between: not so at byte " +
                                      std::to_string(at) + ", `" + std::string(part.substr(0, 100)) + "`"));
    }
    read.set(std::move(p));
    at = end + 1;
  }
  return read;
}

std::ostream& operator<<(std::ostream& out, const cursor& c) { return out << c.to_string(); }

}  // namespace quoit::inline v1
