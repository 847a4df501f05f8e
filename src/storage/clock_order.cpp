#include "storage/clock_order.hpp"

#include <algorithm>
#include <optional>

#include "base/clock.hpp"

namespace quoit::inline v1::detail {

namespace {

// The two clocks are asked one after the other, so an offset is known to some microseconds: what differs by less is one
// clock, and its stamps are compared as they are.
constexpr std::int64_t same_clock_ns = 1'000'000;

// Files say what they like: sums wrap.
std::int64_t sum(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<u64>(a) + static_cast<u64>(b));
}
std::int64_t difference(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<std::int64_t>(static_cast<u64>(a) - static_cast<u64>(b));
}

}  // namespace

void clock_order::add(const directory_handle& lane) {
  std::optional<lane_clock> next;
  for_each_clock(lane, list_segments(lane), [&](const lane_clock& clock) {
    const std::size_t from = boot_of(clock);
    if (next && next->domain != clock.domain) {
      changes_.push_back({from, boot_of(*next), sum(static_cast<std::int64_t>(next->before), to_reference(clock)),
                          sum(static_cast<std::int64_t>(next->since), to_reference(*next))});
    }
    next = clock;
    return true;
  });
}

void clock_order::settle() {
  // A boot that is moved may move the one before it.
  bool moved = true;
  for (std::size_t round = 0; moved && round < boots_.size(); ++round) {
    moved = false;
    for (const change& c : changes_) {
      boot& b = boots_[c.from];
      const std::int64_t needed = difference(c.end, difference(c.begin, boots_[c.to].moved));
      if (b.settled || needed <= b.moved) continue;
      b.moved = needed;
      moved = true;
    }
  }
  for (boot& b : boots_) b.settled = true;
  changes_.clear();
}

std::size_t clock_order::boot_of(const lane_clock& clock) {
  const auto there =
      std::find_if(boots_.begin(), boots_.end(), [&](const boot& b) { return b.domain == clock.domain; });
  const auto index = static_cast<std::size_t>(there - boots_.begin());
  if (there == boots_.end()) boots_.emplace_back().domain = clock.domain;
  boot& b = boots_[index];
  if (clock.known && !b.known) {
    b.known = true;
    b.reference = clock.offset;
  }
  return index;
}

std::int64_t clock_order::to_reference(const lane_clock& clock) {
  boot& b = boots_[boot_of(clock)];
  if (!clock.known) return 0;
  const auto same = std::find_if(b.offsets.begin(), b.offsets.end(), [&](std::int64_t offset) {
    const std::int64_t apart = difference(offset, clock.offset);
    return apart < same_clock_ns && apart > -same_clock_ns;
  });
  if (same != b.offsets.end()) return difference(b.reference, *same);
  b.offsets.push_back(clock.offset);
  return difference(b.reference, clock.offset);
}

std::int64_t clock_order::shift_of(const lane_clock& clock) {
  const std::int64_t shift = to_reference(clock);
  boot& b = boots_[boot_of(clock)];
  b.settled = true;
  return difference(shift, b.moved);
}

std::int64_t clock_order::now() const noexcept {
  for (const boot& b : boots_) {
    if (b.domain == own_domain_ && b.known) {
      return sum(static_cast<std::int64_t>(boottime_ns()), difference(b.reference, b.moved));
    }
  }
  return static_cast<std::int64_t>(realtime_ns());
}

}  // namespace quoit::inline v1::detail
