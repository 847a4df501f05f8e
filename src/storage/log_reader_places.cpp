// Where a reader of a lane on disk begins: places are looked for among segments, then in the index of one, then frame
// by frame.
#include <algorithm>
#include <utility>

#include "storage/frame_walk.hpp"
#include "storage/lane_clock.hpp"
#include "storage/log_reader_parts.hpp"

namespace quoit::inline v1::detail {

namespace {
constexpr u64 page_bytes_read = 4096;  // behind the place that is looked for
constexpr int seeks_max = 100;
}  // namespace

result<void> log_reader::start_at_earliest() { return seek({by_key::what::sequence, 0}); }

result<void> log_reader::start_at_latest() { return seek({by_key::what::sequence, ~u64{0}}); }

result<void> log_reader::start_with_last(u64 messages) {
  if (auto there = start_at_latest(); !there) return there;
  const u64 all = sequence_ - voids_;
  if (messages == 0) return {};
  return seek({by_key::what::message, all - std::min(all, messages)});
}

result<void> log_reader::start_at_sequence(u64 sequence) {
  if (auto there = seek({by_key::what::sequence, sequence}); !there) return there;
  lost_ = removed_before(sequence);
  if (lost_ == 0) return {};
  lagged_due_ = true;
  believed_end_ = looked_until_ = 0;
  return {};
}

result<void> log_reader::start_before_sequence(u64 sequence, u64 messages) {
  if (auto there = start_at_sequence(sequence); !there || lagged_due_) return there;
  const u64 before = sequence_ - voids_;
  return seek({by_key::what::message, before - std::min(before, messages)});
}

result<void> log_reader::resume_at(u64 sequence) {
  auto there = start_at_sequence(sequence);
  if (there && parts_->segment == nullptr) wanted_ = sequence;
  return there;
}

// Messages from `sequence` on that are not there any more, where a seek for it ended.
u64 log_reader::removed_before(u64 sequence) const noexcept {
  if (sequence_ <= sequence || position_ != begin_) return 0;
  if (!parts_->oldest) return std::min(parts_->walked_past, sequence_ - sequence);
  // As many sequences, voids among them.
  if (sequence >= epoch_begin_) return sequence_ - sequence;
  // And of earlier epochs no more than there were messages: what was passed over between them is none.
  const u64 messages = sequence_ - voids_;
  return std::max(sequence_ - epoch_begin_, messages > sequence ? messages - sequence : 0);
}

result<void> log_reader::start_at_time(u64 time_ns) { return seek({by_key::what::time, time_ns}); }

result<void> log_reader::go_on_in(log_lane lane) {
  parts_->lane = std::move(lane);
  return resume_at(sequence());
}

// Retention may remove all that was listed before any of it is opened; what came meanwhile is in the next list.
result<void> log_reader::seek(const by_key& key) {
  for (int n = 0; n < seeks_max; ++n) {
    const auto there = seek_in_list(key);
    if (!there) return tl::unexpected(there.error());
    if (*there) {
      safe_end_ = durable_position();
      return {};
    }
  }
  return tl::unexpected(
      error(errc::not_found, parts_->lane.where.path() + ": its segments go before they can be opened"));
}

// The last segment that does not begin behind what is looked for, and then the place in it. False: it went, and those
// behind it.
result<bool> log_reader::seek_in_list(const by_key& key) {
  leave_segment();
  parts_->next = nullptr;
  lagged_due_ = clock_due_ = false;
  lost_ = looked_until_ = 0;
  position_ = begin_ = believed_end_ = sequence_ = voids_ = stamp_ = epoch_begin_ = wanted_ = 0;
  parts_->oldest = false;
  parts_->walked_past = 0;
  int why = 0;
  const std::vector<u64> numbers = list_segments(parts_->lane.where, false, &why);
  if (why != 0) return tl::unexpected(storage_call_failed("reading the directory", parts_->lane.where.path(), why));
  const auto not_behind = [&](u64 number) -> result<bool> {
    auto segment = open_segment_head(parts_->lane.where, number);
    if (!segment) {
      // Removed meanwhile: then it was before. Not whole, or not to be understood: what can be read is before it.
      if (segment.error() == errc::not_found) return true;
      if (segment.error() == errc::corrupt || segment.error() == errc::newer_version) return false;
      return tl::unexpected(std::move(segment.error()));
    }
    segment_start start{};
    return (*segment)->read_start(start) && key.not_behind(start.sequence, start.voids, start.stamp);
  };
  std::size_t low = 0;
  std::size_t high = numbers.size();
  if (key.kind == by_key::what::time) find_clock(key, numbers, low, high);
  const std::size_t lowest = low;
  while (low < high) {
    const std::size_t middle = low + (high - low) / 2;
    auto answer = not_behind(numbers[middle]);
    if (!answer) return tl::unexpected(std::move(answer.error()));
    if (*answer) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  // Where all begin behind it, the first.
  for (std::size_t at = low > lowest ? low - 1 : lowest; at < numbers.size(); ++at) {
    auto began = begin_in(numbers[at]);
    if (!began) {
      // The first of all may be torn, as others are: take() says what it is.
      if (began.error() == errc::corrupt && at == 0) return true;
      return tl::unexpected(std::move(began.error()));
    }
    if (*began) {
      parts_->oldest = at == 0;
      if (auto there = walk_to(key); !there) return tl::unexpected(std::move(there.error()));
      return true;
    }
    if (parts_->next != nullptr) return true;
  }
  return numbers.empty();
}

// The segments, of the numbers [low, high), of the last clock that began before the time that is looked for.
void log_reader::find_clock(const by_key& key, const std::vector<u64>& numbers, std::size_t& low,
                            std::size_t& high) const {
  for_each_clock(parts_->lane.where, numbers, [&](const lane_clock& clock) {
    const auto first = std::lower_bound(numbers.begin(), numbers.end(), clock.first);
    low = clock.known ? static_cast<std::size_t>(first - numbers.begin()) : 0;
    const bool found = !clock.known || clock.since <= key.value;
    if (!found) high = low;
    return !found;
  });
}

result<void> log_reader::walk_to(const by_key& key) {
  segment_start start{};
  const std::shared_ptr<segment_file> segment = parts_->segment;
  segment->read_start(start);
  const segment_geometry& g = segment->geometry;
  const sparse_reading reading(segment->memory);
  reading.expect(0, g.data_offset);
  const log_place from = place_from_index(*segment, start, [&](const segment_index_entry& entry) {
    return key.not_behind(entry.sequence, entry.voids, entry.stamp);
  });
  // To the next place that the index knows, and the message there.
  const u64 offset = g.data_offset + (from.position - begin_);
  reading.expect(offset, offset + (u64{1} << g.index_shift) + page_bytes_read);
  log_place place = from;
  for (;;) {
    const frame_step step = look_at_frame(*parts_->segment, begin_, place, false);
    bool there = false;
    switch (step.kind) {
      case step_kind::message:
      case step_kind::voided: {
        if (key.kind == by_key::what::sequence) there = place.sequence >= key.value;
        if (key.kind == by_key::what::message) there = place.sequence - place.voids >= key.value;
        if (key.kind == by_key::what::time) there = step.kind == step_kind::message && step.stamp >= key.value;
        break;
      }
      case step_kind::skip: break;
      // Whatever this is, take() says it.
      default: there = true;
    }
    if (there) {
      position_ = place.position;
      sequence_ = place.sequence;
      voids_ = place.voids;
      stamp_ = place.stamp;
      if (step.kind != step_kind::rolled) return {};
      const std::shared_ptr<segment_file> segment_before = parts_->segment;
      const take_status status = cross();
      if (status == take_status::corrupt && parts_->segment != segment_before) {
        return tl::unexpected(error(errc::corrupt, parts_->fault));
      }
      if (parts_->segment != segment_before) parts_->oldest = false;
      if (status == take_status::lagged) {
        // Removed under the search, and not from under a reader: one that asks for a sequence is told by the caller.
        parts_->walked_past += lost_;
        lost_total_ -= std::exchange(lost_, 0);
      } else if (status != take_status::message) {
        return {};
      }
      place = {position_, sequence_, voids_, stamp_};
      continue;
    }
    place = behind(place, step);
  }
}

}  // namespace quoit::inline v1::detail
